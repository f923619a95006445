// The data that the page decodes when it needs it: columns of a benchmark, texts of a task, transcripts of a judging.
import { content } from "./base.js";

const pieces = new Map();

export function readChunk(name) {
  if (!pieces.has(name)) pieces.set(name, decode(name));
  return pieces.get(name);
}

async function decode(name) {
  const element = document.querySelector(`script[data-chunk="${name}"]`) ?? (await whenRead(name));
  const bytes = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// The page is shown while the browser still reads the data at its end.
async function whenRead(name) {
  if (document.readyState === "loading") {
    await new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true }));
  }
  return document.querySelector(`script[data-chunk="${name}"]`);
}

const columns = new Map();

// Of each sample of a benchmark: its id, its task (a position in suite.tasks), its place in that task, and for each run
// its score and how its output ended.
export async function loadColumns(suite) {
  if (!columns.has(suite.name))
    columns.set(
      suite.name,
      readChunk(suite.columns).then((found) => withTasks(suite, found)),
    );
  return columns.get(suite.name);
}

function withTasks(suite, found) {
  const task = new Uint16Array(suite.size);
  const place = new Uint32Array(suite.size);
  let next = 0;
  suite.tasks.forEach((own, number) => {
    for (let index = 0; index < own.size; index += 1) {
      task[next] = number;
      place[next] = index;
      next += 1;
    }
  });
  const finishes = new Set(Object.values(found.runs).flatMap((run) => [...new Set(run.finish)]));
  return { ...found, task, place, finishes: [...finishes].filter(Boolean).sort() };
}

const texts = new Map();

// The texts of a task if they are decoded, else undefined.
export const textsAtHand = (suite, number) => texts.get(suite.tasks[number].chunk);

export async function loadTexts(suite, number) {
  const { chunk } = suite.tasks[number];
  if (!texts.has(chunk)) texts.set(chunk, await readChunk(chunk));
  return texts.get(chunk);
}

// Everything about one sample in one run.
export function sampleOf(texts, place, run) {
  const own = texts.runs[run];
  const asked = texts.prompts[own.prompts];
  const middle = asked.middles[place];
  return {
    prompt: middle === null ? null : asked.before + middle + asked.after,
    state: asked.states[place],
    references: asked.references[place],
    output: own.outputs[place],
    values: own.values[place],
    verdict: own.verdicts[place],
    tokens: own.tokens[place],
    logprob: own.logprobs[place],
  };
}

export const totalSamples = content.suites.reduce((total, suite) => total + suite.size, 0);
