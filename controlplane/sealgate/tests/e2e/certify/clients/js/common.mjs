// What the JavaScript clients share: the runner's arguments, test bytes, checks, and one line of JSON per case.

export const target = {
  endpoint: process.env.CERTIFY_ENDPOINT,
  access: process.env.CERTIFY_ACCESS,
  secret: process.env.CERTIFY_SECRET,
  bucket: process.env.CERTIFY_BUCKET,
};

export const PART = 5 << 20;
export const ODD_KEYS = ["odd/a b", "odd/a+b", "odd/a%20b", "odd/ü/ключ", "odd/&<>'\"", "odd/sub/one", "odd/=?#"];

/** Repeatable bytes that differ for each seed (mulberry32). */
export function blob(size, seed = 0) {
  const data = Buffer.alloc(size);
  let a = (seed * 0x9e3779b9 + size) >>> 0;
  for (let i = 0; i < size; i++) {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    data[i] = (t ^ (t >>> 14)) & 255;
  }
  return data;
}

export function check(holds, what) {
  if (!holds) throw new Error(what);
}

export function equal(got, expected) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(expected)];
  check(a === b, `got ${a}, expected ${b}`);
}

export function same(got, expected) {
  check(Buffer.compare(Buffer.from(got), expected) === 0, `${got.length} bytes that differ from the ${expected.length} expected`);
}

/** The call must fail with one of these codes or statuses. */
export async function refused(call, ...codes) {
  let answer;
  try {
    answer = await call;
  } catch (e) {
    const said = [e.Code, e.code, e.name, e.$metadata?.httpStatusCode].filter((x) => x !== undefined);
    check(codes.some((c) => said.includes(c)), `expected ${codes}, got ${said}: ${e.message}`);
    return;
  }
  check(false, `succeeded, expected ${codes}: ${answer}`);
}

export async function httpGet(url) {
  const answer = await fetch(url);
  const body = Buffer.from(await answer.arrayBuffer());
  check(answer.ok, `${answer.status} ${body}`);
  return body;
}

export async function httpPut(url, body) {
  const answer = await fetch(url, { method: "PUT", body });
  check(answer.ok, `${answer.status} ${await answer.text()}`);
}

export async function run(cases) {
  for (const name of process.argv.slice(2)) {
    let line = { case: name, ok: true };
    try {
      check(cases[name], `no such case here: ${name}`);
      await cases[name]();
    } catch (e) {
      line = { case: name, ok: false, error: `${e.Code ?? e.code ?? e.name ?? ""} ${e.message ?? e}` };
    }
    console.log(JSON.stringify(line));
  }
}
