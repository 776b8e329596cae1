// Renews the parts of a page that change while runs are under way. Without scripts the pages work, and stand still.
"use strict";

const EVERY_MS = 2000;

/** Put a new part in the place of the old one: what was ticked stays ticked, what had the focus has it again. */
function renew(place, html) {
  const ticked = new Set([...place.querySelectorAll("input:checked")].map((box) => box.value));
  const focused = place.contains(document.activeElement) ? mark(document.activeElement) : null;
  const scrolled = [...place.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
  place.innerHTML = html;
  for (const box of place.querySelectorAll("input[type=checkbox]")) box.checked = ticked.has(box.value);
  place.querySelectorAll(".scroll").forEach((box, index) => { box.scrollLeft = scrolled[index] ?? 0; });
  if (focused !== null) [...place.querySelectorAll("a, input, button, .scroll")].find((one) => mark(one) === focused)?.focus();
}

/** What tells an element of a part from the others, also in the next version of the part. */
function mark(element) {
  return [element.tagName, element.value, element.href, element.getAttribute("aria-label")].join(" ");
}

for (const place of document.querySelectorAll("[data-live]")) {
  let shown = place.innerHTML;
  let asking = false;  // a folder with many runs may take longer to read than the time between two questions
  setInterval(async () => {
    if (document.hidden || asking) return;
    asking = true;
    try {
      const answer = await fetch(place.dataset.live);
      if (!answer.ok) return;
      const html = await answer.text();
      if (html !== shown) renew(place, html);
      shown = html;
    } catch {
      // The server may be gone: the page keeps what it shows.
    } finally {
      asking = false;
    }
  }, EVERY_MS);
}
