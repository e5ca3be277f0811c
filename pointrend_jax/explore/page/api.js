// What the page asks of its server. Addresses are relative, so the token in that of the page goes along.

async function asked(address, options) {
  const answer = await fetch(address, options).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is `pointrend_jax explore` still running?");
  });
  if (answer.ok) return answer;
  let text = answer.statusText;
  try {
    text = (await answer.json()).error ?? text;
  } catch { /* no JSON: the status says it */ }
  const error = new Error(text);
  error.status = answer.status;
  throw error;
}

const json = async (address, options) => (await asked(address, options)).json();
const bytes = async (address, options) =>
  new Uint8Array(await (await asked(address, options)).arrayBuffer());

export const start = () => json("start");
export const scene = (name) => patient(() => json(`scenes/${name}`));
export const predict = (file, signal) =>
  patient(() => json("photos", { method: "POST", body: file, signal }), signal);
export const photoAddress = (name) => `scenes/${name}/photo`;
export const map = (name, kind) =>
  patient(() => bytes(`scenes/${name}/map?kind=${kind}`));

function ask({ object, window, side }) {
  return `object=${object}&window=${window.map((v) => v.toFixed(4)).join(",")}&side=${side}`;
}

// A request that finds the queue full comes again, until it is aborted where it has a signal.
async function patient(question, signal) {
  for (;;) {
    try {
      return await question();
    } catch (error) {
      if (error.status !== 503 || signal?.aborted) throw error;
      await new Promise((done) => setTimeout(done, 500));
    }
  }
}

// {side, values}: side * side bytes over the window.
export async function window(name, what, signal) {
  const values = await patient(() => bytes(`scenes/${name}/window?${ask(what)}`, { signal }), signal);
  return { side: Math.sqrt(values.length), values };
}

// Of each step of a window: its sides, points in [0, 1] of the window, and uncertainty as bytes.
export async function steps(name, what, signal) {
  const found = await patient(() => json(`scenes/${name}/steps?${ask(what)}`, { signal }), signal);
  return found.map((step) => ({ ...step, uncertainty: unpacked(step.uncertainty) }));
}

const unpacked = (hex) =>
  Uint8Array.from({ length: hex.length / 2 }, (_, i) => parseInt(hex.substr(2 * i, 2), 16));

// {blob, name}: a file with some of the objects.
export async function save(name, kind, objects) {
  const address = `scenes/${name}/save/${kind}?objects=${objects.join(",")}`;
  const answer = await patient(() => asked(address));
  const [, file] = /filename="(.+)"/.exec(answer.headers.get("content-disposition"));
  return { blob: await answer.blob(), name: file };
}
