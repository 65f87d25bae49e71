// Works offline: what was loaded once comes from the cache of its build. The answers also carry the two headers
// that a browser asks for before it lets WebAssembly use several threads, which plain file servers do not send.

const VERSION = "{version}";
const HERE = self.registration.scope; // other versions of the page may be elsewhere on the same server
const CACHE = `${VERSION} ${HERE}`; // the name that offline.js uses

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("activate", (event) => {
  const clean = async () => {
    const ours = (await caches.keys()).filter((name) => name.startsWith("ddpm-lab-") && name !== CACHE);
    await Promise.all(ours.map(async (name) => (await isOld(name)) && caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(clean());
});

/** Whether a cache is of this page. Once they were called after their version alone: what they hold tells. */
async function isOld(name) {
  if (name.includes(" ")) return name.endsWith(` ${HERE}`);
  return Boolean(await (await caches.open(name)).match(new URL("model.json", HERE)));
}

async function isolated(answer) {
  const headers = new Headers(answer.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}

async function answer(request) {
  const cache = await caches.open(CACHE);
  const name = new URL(request.url).pathname.replace(/\/index\.html$/, "/"); // under which it is kept
  const kept = await cache.match(name, { ignoreSearch: true });
  if (kept) return isolated(kept);
  const fresh = await fetch(request);
  if (fresh.ok) await cache.put(request, fresh.clone());
  return fresh.ok ? isolated(fresh) : fresh;
}

self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && new URL(event.request.url).origin === location.origin) {
    event.respondWith(answer(event.request));
  }
});
