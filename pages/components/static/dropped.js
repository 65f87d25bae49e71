// A folder that is dropped reaches Streamlit's uploader as bare files: those of pets/cat and of pets/dog would be one
// heap. Here each gets the name of its path before the uploader sees it, as files of a folder have that one browses for.

const ZONE = ".st-key-train_arrivals [data-testid=stFileUploaderDropzone]";

const listed = (reader) => new Promise((take, fail) => reader.readEntries(take, fail));
const opened = (entry) => new Promise((take, fail) => entry.file(take, fail));

async function filesIn(entry) {
  if (entry.isFile) {
    const file = await opened(entry);
    return [new File([file], entry.fullPath.slice(1), { type: file.type, lastModified: file.lastModified })];
  }
  const [reader, entries] = [entry.createReader(), []];
  for (let some = await listed(reader); some.length; some = await listed(reader)) entries.push(...some); // by hundreds
  return (await Promise.all(entries.map(filesIn))).flat();
}

export default function () {
  const take = async (event) => {
    const zone = event.target.closest?.(ZONE);
    const entries = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!zone || !entries.some((entry) => entry.isDirectory)) return; // the uploader does files well
    event.preventDefault();
    event.stopPropagation();
    event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true })); // or the zone waits for a drop for ever
    const carrier = new DataTransfer();
    (await Promise.all(entries.map(filesIn))).flat().forEach((file) => carrier.items.add(file));
    const input = zone.querySelector("input[type=file]");
    input.files = carrier.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("drop", take, true); // before anybody else
  return () => document.removeEventListener("drop", take, true);
}
