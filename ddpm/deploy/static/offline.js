// The files of a page, kept by the browser for when there is no server.

import { main } from "./widgets.js";

let begun = false;

/** Keep those of the page's files that it uses. To be called once it has drawn, so that nothing is loaded twice at once. */
export async function keepOffline(page, uses) {
  if (begun || !("serviceWorker" in navigator) || !window.isSecureContext) return;
  begun = true;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    const cache = await caches.open(`${page.version} ${new URL("./", location.href)}`);
    await Promise.all(page.offline.filter(uses).map(async (name) => (await cache.match(name)) || cache.add(name)));
    main.dataset.offline = "ready";
  } catch (error) {
    main.dataset.offline = error.message; // the page still works; it only needs its server next time
  }
}
