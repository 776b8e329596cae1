// Boots a firmware on rp2040js, with one UART of the chip on a TCP port of this machine.
// usage: node rp2040js.mjs FOLDER_OF_RP2040JS ELF UART [LAYOUT OUT]
// LAYOUT and OUT count instructions; tritguard.device.emulators.interface.Counting describes both files.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, elfName, uartIndex, layoutName, outName] = process.argv.slice(2);
const module = await import(pathToFileURL(path.join(folder, 'dist', 'esm', 'index.js')).href);
const { ConsoleLogger, LogLevel, Simulator } = module;

const FLASH = 0x10000000;
const FLASH_END = 0x14000000;
const BOOT_BYTES = 0x100; // the second boot loader lies in front of the vectors; it is for a real chip's boot ROM
const SYST_CVR = 0x018;
const AIRCR = 0xd0c;
const AIRCR_RESET = 0x05fa0004;
const CYCLE_NANOS = 1e9 / 125e6; // the core clock that the firmware sets
const LONGEST_SLEEP_NANOS = 1e6;
const STEPS_AT_ONCE = 400;
const SLICE_MILLISECONDS = 8;

const simulator = new Simulator();
const chip = simulator.rp2040;
const core = chip.core;
const uart = chip.uart[Number(uartIndex)];
chip.logger = new ConsoleLogger(LogLevel.Error, false);

function load(elf) {
  chip.flash.fill(0xff);
  const [table, size, count] = [elf.readUInt32LE(28), elf.readUInt16LE(42), elf.readUInt16LE(44)];
  for (let i = 0; i < count; i++) {
    const at = table + i * size;
    const [type, offset, , address, bytes] = [0, 4, 8, 12, 16].map((field) => elf.readUInt32LE(at + field));
    if (type === 1 && bytes > 0 && address >= FLASH && address + bytes <= FLASH_END) {
      chip.flash.set(elf.subarray(offset, offset + bytes), address - FLASH);
    }
  }
}

function reset() {
  core.VTOR = FLASH + BOOT_BYTES;
  core.pendingSystick = false;
  core.pendingInterrupts = 0;
  core.enabledInterrupts = 0;
  core.IPSR = 0;
  core.currentMode = 0; // thread mode
  core.PM = false;
  core.SP = chip.flashView.getUint32(BOOT_BYTES, true);
  core.PC = chip.flashView.getUint32(BOOT_BYTES + 4, true) & ~1;
}

// Three things of the core are not as Arm's manuals say: a write to SysTick's counter makes the timer reload without an
// interrupt, software may reset the core, and an interrupt that is pending already lets no WFI wait (`wakeIfPending`).
const writeRegister = chip.ppb.writeUint32.bind(chip.ppb);
chip.ppb.writeUint32 = (offset, value) => {
  if (offset === SYST_CVR) {
    chip.ppb.systickTimer.set(chip.ppb.systickReload);
  } else if (offset === AIRCR) {
    if (value >>> 0 === AIRCR_RESET) {
      reset();
    }
  } else {
    writeRegister(offset, value);
  }
};

class Counter {
  constructor(layout, out) {
    this.out = out;
    this.marks = new Map();
    this.counts = new Map(); // [runs, taken, size], by the address times the number of buckets, plus the bucket
    this.bucket = 0;
    this.last = null;
    this.expected = 0;
    for (const line of readFileSync(layout, 'utf8').split('\n').filter(Boolean)) {
      const [address, bucket] = line.split(' ');
      this.marks.set(parseInt(address, 16), Number(bucket));
    }
    this.buckets = 1 + Math.max(0, ...this.marks.values());
  }

  beforeInstruction(address) {
    if (this.last !== null && this.expected !== address) {
      this.last[1]++;
    }
    const mark = this.marks.get(address);
    if (mark !== undefined) {
      const ended = this.bucket !== 0 && mark === 0;
      this.bucket = mark;
      if (ended) {
        this.write();
      }
    }
    this.last = null;
    if (this.bucket !== 0) {
      const key = address * this.buckets + this.bucket;
      let count = this.counts.get(key);
      if (count === undefined) {
        count = [0, 0, chip.readUint16(address) >> 11 >= 0b11101 ? 4 : 2];
        this.counts.set(key, count);
      }
      count[0]++;
      this.last = count;
      this.expected = address + count[2];
    }
  }

  write() {
    const lines = [...this.counts].map(([key, [runs, taken, size]]) => {
      const address = Math.floor(key / this.buckets);
      return `${key % this.buckets} ${runs} ${taken} ${address.toString(16)} ${size}\n`;
    });
    writeFileSync(`${this.out}.draft`, lines.join(''));
    renameSync(`${this.out}.draft`, this.out);
  }
}

const counter = layoutName === undefined ? null : new Counter(layoutName, outName);
let socket = null;
let sent = [];
let received = [];
let started = false;
let asleep = true;

uart.onByte = (byte) => sent.push(byte);

function feed() {
  let taken = 0;
  while (taken < received.length && uart.enabled && !uart.rxFIFO.full) {
    uart.feedByte(received[taken++]);
  }
  received = taken === 0 ? received : received.slice(taken);
}

// rp2040js looks for interrupts when one becomes pending, but not when WFI begins to wait: a byte that came just before,
// while interrupts were masked, would never wake the core, as further bytes make nothing pending that is not yet.
function wakeIfPending() {
  if (core.waiting && ((core.pendingInterrupts & core.enabledInterrupts) !== 0 || core.pendingSystick)) {
    core.waiting = false;
  }
}

function step() {
  wakeIfPending();
  if (core.waiting) {
    const next = simulator.clock.nanosToNextAlarm;
    simulator.clock.tick(next > 0 && next < LONGEST_SLEEP_NANOS ? next : LONGEST_SLEEP_NANOS);
    return;
  }
  if (counter !== null) {
    if (core.interruptsUpdated) {
      core.checkForInterrupts(); // executeInstruction would, and then run another instruction than this one
    }
    counter.beforeInstruction(core.PC & ~1);
  }
  simulator.clock.tick(core.executeInstruction() * CYCLE_NANOS);
}

function run() {
  const end = performance.now() + SLICE_MILLISECONDS;
  do {
    feed();
    for (let i = 0; i < STEPS_AT_ONCE && !core.waiting; i++) {
      step();
    }
    wakeIfPending();
    if (sent.length > 0 && socket !== null) {
      socket.write(Buffer.from(sent));
      sent = [];
    }
    if (core.waiting && received.length === 0) {
      asleep = true; // nothing but a byte wakes this firmware while it waits
      return;
    }
    step();
  } while (performance.now() < end);
  setImmediate(run);
}

function wake() {
  if (asleep) {
    asleep = false;
    setImmediate(run);
  }
}

const server = net.createServer((connection) => {
  socket = connection;
  connection.setNoDelay(true);
  connection.on('data', (data) => {
    received.push(...data);
    wake();
  });
  connection.on('error', () => {});
  connection.on('close', () => {
    socket = socket === connection ? null : socket;
  });
  if (!started) {
    started = true;
    wake();
  }
});

process.stdin.on('end', () => process.exit()); // the process that started this one is gone
process.stdin.resume();
load(readFileSync(elfName));
reset();
server.listen(0, '127.0.0.1', () => {
  process.stderr.write(`waiting for connection on: 127.0.0.1:${server.address().port}\n`);
});
