// Opens pages in Chromium at three widths, light and dark; see pages.py.
// usage: node pages.mjs CHROMIUM AXE.js OUT PAGE.html...
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [program, axe, out, ...pages] = process.argv.slice(2);
const flags = ["--headless", "--no-sandbox", "--disable-gpu"];
flags.push("--disable-background-networking", "--disable-component-update", "--disable-sync");
const browser = await chromium.launch({ executablePath: program, args: flags });
for (const page of pages) {
  for (const width of [390, 820, 1280]) {
    for (const colorScheme of ["light", "dark"]) {
      const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, bypassCSP: true });
      const tab = await context.newPage();
      const found = [];
      tab.on("request", (request) => {
        if (!/^(file|data):/.test(request.url())) found.push(`asks for ${request.url()}`);
      });
      tab.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) found.push(`console: ${message.text()}`);
      });
      tab.on("pageerror", (error) => found.push(`error: ${error.message}`));
      await tab.goto(pathToFileURL(page).href);
      const name = `${basename(page, ".html")}-${width}-${colorScheme}`;
      await tab.screenshot({ path: `${out}/${name}.png`, fullPage: true });
      if (await tab.evaluate(() => document.documentElement.scrollWidth > window.innerWidth)) {
        found.push("the page itself scrolls sideways");
      }
      const least = await tab.evaluate(() => {
        const sizes = [...document.querySelectorAll("svg text")].map((text) => {
          const scale = text.ownerSVGElement.getScreenCTM().a;
          return parseFloat(getComputedStyle(text).fontSize) * scale;
        });
        return Math.min(...sizes, 99);
      });
      if (least < 9) found.push(`text in a drawing is ${least.toFixed(1)} px high`);
      await tab.evaluate(readFileSync(axe, "utf8"));
      const { violations } = await tab.evaluate(() => globalThis.axe.run(document));
      for (const { id, nodes } of violations) found.push(`axe: ${id}: ${nodes[0].target} (${nodes.length})`);
      console.log(JSON.stringify({ name, found }));
      await context.close();
    }
  }
}
await browser.close();
