// Uses the chat page as people do. What only the test around it can do it asks for on stdout.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import readline from "node:readline";

const { chromium } = createRequire(import.meta.url)("playwright-core");
const [address, screenshots] = process.argv.slice(2);
const replies = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function askTest(line) {
  console.log(line);
  return (await replies.next()).value;
}

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const context = await browser.newContext({ viewport: { width: 1000, height: 760 } });
const page = await context.newPage();
page.setDefaultTimeout(20_000);
const complaints = [];
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("console", (message) => {
  if (message.type() === "error") complaints.push(message.text());
});

const turns = page.locator("#turns > li");
const turn = (index) => turns.nth(index).locator(".said");
const counters = (index) => turns.nth(index).locator(".counters").textContent();
const chats = page.locator("#chats li");
const status = (text) => page.locator("#status", { hasText: text }).waitFor();
const complete = () => status("The answer is complete.");

async function say(text) {
  await page.getByLabel("Your message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
  await complete();
}

async function conversation() {
  await page.goto(address);
  await page.locator("#model", { hasText: "tiny" }).waitFor();
  await page.getByText("Sampling", { exact: true }).click();
  await page.getByLabel("Temperature").fill("0");
  await page.getByLabel("Tokens at most").fill("60");
  await page.getByLabel("Tokens at most").blur();
  await page.getByText("Sampling", { exact: true }).click();
  await say("My name is Mara.");
  await say("I live in Oslo.");
  await say("What is my name?");
  assert.equal(await turns.count(), 6);
  assert.match(await turn(5).textContent(), /Mara/);
  assert.match(await counters(5), /tokens, .* a second, the first after \d+ ms; [1-9]\d* of \d+ reused/);
  await page.screenshot({ path: `${screenshots}/light.png` });
}

async function retryForkEdit() {
  const before = await turn(5).textContent();
  await page.getByRole("button", { name: "Retry: Model, turn 6" }).click();
  await complete();
  assert.equal(await turn(5).textContent(), before, "greedy");
  assert.equal(await askTest("sessions"), "1", "it was cut back, not begun anew");
  await page.getByRole("button", { name: "Fork after: Model, turn 2" }).click();
  assert.equal(await chats.count(), 2);
  assert.equal(await turns.count(), 2);
  await say("How are you?");
  assert.equal(await turns.count(), 4);
  assert.match(await counters(3), /; [1-9]\d* of \d+ reused/);
  assert.equal(await askTest("sessions"), "2");
  await page.getByRole("button", { name: "Edit: You, turn 1" }).click();
  await page.getByLabel("Your message, turn 1").fill("My name is Tom.");
  await page.getByRole("button", { name: "Send the edited message" }).click();
  await complete();
  assert.equal(await turns.count(), 2);
  await say("What is my name?");
  assert.match(await turn(3).textContent(), /Tom/);
  await chats.nth(1).getByRole("button").first().click();
  assert.equal(await turns.count(), 6);
}

async function reloadAndRestart() {
  await page.reload();
  assert.equal(await turns.count(), 6);
  await say("Where do I live?");
  assert.match(await turn(7).textContent(), /Oslo/);
  await askTest("stop the model");
  await page.getByLabel("Your message", { exact: true }).fill("What is my name?");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByRole("button", { name: "Ask for the answer again" }).waitFor();
  assert.equal(await turns.count(), 9, "the question stays");
  await askTest("start the model");
  await page.getByRole("button", { name: "Ask for the answer again" }).click();
  await complete();
  assert.match(await turn(9).textContent(), /Mara/);
}

async function stop() {
  // An answer without end.
  const ends = (await askTest("ends of answers")).split(" ");
  const logit_bias = Object.fromEntries(ends.map((id) => [id, -100]));
  await page.route("**/v1/chat/completions", (route) => {
    const body = { ...route.request().postDataJSON(), logit_bias, max_tokens: 200_000 };
    route.continue({ postData: JSON.stringify(body) });
  });
  await page.getByLabel("Your message", { exact: true }).fill("Tell me a story.");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#turns > li:last-child .said").textContent.length > 300);
  await page.keyboard.press("Escape");
  await status("Stopped.");
  await page.unroute("**/v1/chat/completions");
  await page.getByRole("button", { name: "Fork after: Model, turn 2", exact: true }).click();
}

async function isSafe() {
  const text = `<img src=x onerror="document.title='gone'"><b>bold</b>`;
  await say(text);
  assert.equal(await turn(2).textContent(), text);
  assert.equal(await page.locator("#turns img, #turns b").count(), 0);
  assert.equal(await page.title(), "Kvasir");
}

async function isForEverybody() {
  const unnamed = await page.evaluate(() =>
    [...document.querySelectorAll("button, input, textarea")].filter(
      (each) => !(each.labels?.length || each.ariaLabel || each.textContent.trim()),
    ).length,
  );
  assert.equal(unnamed, 0, "everything has a name");
  await page.reload();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "question");
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.locator("#theme").click();
  await page.reload();
  assert.equal(await ground(), light, "the choice stays");
  await page.locator("#theme").click();
  assert.equal(await ground(), dark);
  await page.screenshot({ path: `${screenshots}/dark.png` });
}

async function fullBrowser() {
  await page.evaluate(() => {
    Storage.prototype.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
  });
  const there = await turns.count();
  await say("My name is Mara.");
  assert.equal(await turns.count(), there + 2, "chats go on");
  assert.match(await page.getByRole("alert").textContent(), /cannot keep the chats/);
  await say("What is my name?");
  await page.reload();
  assert.equal(await turns.count(), there);
}

async function forget() {
  const there = await chats.count();
  await chats.first().getByRole("button", { name: /^Delete the chat/ }).click();
  assert.equal(await chats.count(), there - 1);
}

try {
  await conversation();
  await retryForkEdit();
  await reloadAndRestart();
  const expected = /503|Failed to load resource/;
  assert.deepEqual(complaints.filter((complaint) => !expected.test(complaint)), []);
  await stop();
  await isSafe();
  await isForEverybody();
  await fullBrowser();
  await forget();
  assert.deepEqual(complaints.filter((complaint) => !expected.test(complaint)), []);
} catch (error) {
  // What it looked like, and what it said.
  await page.screenshot({ path: `${screenshots}/failure.png` });
  console.error(await page.locator("#error").textContent(), complaints);
  throw error;
} finally {
  await browser.close();
}
replies.return?.();
process.exit(0);
