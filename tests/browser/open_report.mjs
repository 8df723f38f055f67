// Opens a report in headless Chromium and tells, as JSON, what a reader would meet.
//
//   node open_report.mjs REPORT.html [FOLDER FOR SCREENSHOTS]
//
// CHROMIUM names the browser. Nothing is judged here: tests/test_report_browser.py does that.

import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [report, folder] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"], // in a container there are no namespaces to make one of
});
const told = { errors: [], requests: [], dialogs: [] };

async function opened(options) {
  const context = await browser.newContext({
    deviceScaleFactor: 1,
    reducedMotion: "reduce", // smooth scrolling goes on when it is said to be done
    ...options,
  });
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) told.errors.push(message.text());
  });
  page.on("pageerror", (error) => told.errors.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith("data:")) told.requests.push(request.url());
  });
  page.on("dialog", async (dialog) => {
    told.dialogs.push(dialog.message());
    await dialog.dismiss();
  });
  await page.goto(pathToFileURL(report).href, { waitUntil: "load" });
  return page;
}

async function pictured(page, name) {
  if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}

// what is drawn, counted; and what a name of a file could have planted
const contents = () => ({
  title: document.title,
  headings: [...document.querySelectorAll("h2")].map((h) => h.textContent),
  plots: [...document.querySelectorAll(".plot svg")].map((svg) => {
    const box = svg.getBoundingClientRect();
    const seen = [...svg.querySelectorAll("path, text, use, rect")].filter((mark) => {
      const { width, height } = mark.getBoundingClientRect();
      return width + height > 0;
    });
    const inks = new Set(seen.flatMap((mark) => {
      const { stroke, fill } = getComputedStyle(mark);
      return [stroke, fill];
    }));
    return { width: box.width, height: box.height, marks: seen.length, inks: inks.size };
  }),
  pictures: [...document.querySelectorAll("main img")].map((img) => img.naturalWidth),
  unnamed: [...document.querySelectorAll("main img:not([alt]), .plot:not([aria-label])")].length,
  maps: [...document.querySelectorAll(".points")].map((map) => map.querySelectorAll("path").length),
  planted: document.querySelectorAll("main [onerror], main [onload], main script:not([type])").length,
  scripts: document.scripts.length,
});

const page = await opened({ viewport: { width: 1280, height: 900 } });
told.contents = await page.evaluate(contents);
await pictured(page, "wide");

const card = (page) =>
  page.evaluate(() => {
    const [card, image] = [document.querySelector("#card"), document.querySelector("#card img")];
    const box = card.getBoundingClientRect();
    const inside = box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
    return {
      shown: !card.hidden, inside, words: card.innerText, image: !image.hidden,
      width: image.naturalWidth, tags: card.querySelectorAll("*").length,
    };
  });

// the middles of some points of the map, in pixels of the window
const places = (map, rows) =>
  map.evaluate((drawing, rows) => {
    const marks = drawing.querySelectorAll("path");
    return rows.map((i) => {
      const box = marks[i % marks.length].getBoundingClientRect();
      return [box.left + box.width / 2, box.top + box.height / 2];
    });
  }, rows);

const map = page.locator(".points").first();
if (await map.count()) {
  await map.scrollIntoViewIfNeeded();
  await page.waitForTimeout(100);
  told.before = await card(page);
  told.hovered = [];
  for (const at of await places(map, [...Array(40).keys()].map((i) => 7 * i))) {
    await page.mouse.move(...at);
    told.hovered.push(await card(page));
  }
  if (folder) await page.screenshot({ path: `${folder}/hover.png` });
  await page.mouse.move(2, 2);
  told.after = await card(page);
  await map.focus();
  await page.keyboard.press("ArrowRight");
  const first = (await card(page)).words;
  let second = first;
  for (const key of ["ArrowRight", "ArrowLeft"]) { // the first point may be the last on one side
    if (second === first) await page.keyboard.press(key);
    second = (await card(page)).words;
  }
  told.keyed = { first, second, image: (await card(page)).image };
  await page.keyboard.press("Escape");
  told.escaped = await card(page);
  const button = page.locator(".legend button").first();
  if (await button.count()) {
    await button.click();
    told.faded = await page.locator(".points .faded").count();
    await button.click();
    told.unfaded = await page.locator(".points .faded").count();
  }
}
const token = page.locator(".token[tabindex]").first();
if (await token.count()) {
  await token.scrollIntoViewIfNeeded();
  await page.waitForTimeout(100); // scrolling hides the card, a frame later
  await token.hover();
  told.token = await card(page);
}

told.narrow = {};
for (const [name, options] of [
  ["phone", { isMobile: true, hasTouch: true, deviceScaleFactor: 2 }],
  ["dark", { colorScheme: "dark" }],
]) {
  const narrow = await opened({ viewport: { width: 390, height: 844 }, ...options });
  told.narrow[name] = await narrow.evaluate(() => ({
    width: document.documentElement.scrollWidth,
    wider: [...document.querySelectorAll("main *")]
      .filter((e) => !e.closest(".scroll, .spoken, .plot") && e.getBoundingClientRect().right > innerWidth + 1)
      .map((e) => e.outerHTML.slice(0, 80)),
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    plot: [...document.querySelectorAll(".plot text")].slice(0, 1).map((t) => getComputedStyle(t).fill),
    smallest: Math.min(
      ...[...document.querySelectorAll(".plot text")].map((t) => {
        const { a, b } = t.getScreenCTM();
        return parseFloat(getComputedStyle(t).fontSize) * Math.hypot(a, b);
      }),
    ),
  }));
  await pictured(narrow, name);
  const points = narrow.locator(".points").first();
  if (options.hasTouch && (await points.count())) {
    await points.scrollIntoViewIfNeeded();
    await narrow.waitForTimeout(100);
    told.touched = [];
    for (const at of await places(points, [0, 5, 11, 17])) {
      await narrow.touchscreen.tap(...at);
      told.touched.push(await card(narrow));
    }
    if (folder) await narrow.screenshot({ path: `${folder}/touch.png` });
  }
}
if (folder) {
  const dark = await opened({ viewport: { width: 1280, height: 900 }, colorScheme: "dark" });
  await pictured(dark, "wide-dark");
  await page.pdf({ path: `${folder}/print.pdf`, format: "A4" });
}
await browser.close();
console.log(JSON.stringify(told));
