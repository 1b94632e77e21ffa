// Times, spans and sizes as people read them. Times come in microseconds since 1970.
import { el } from "./dom.js";

const KEY = "portcullis-utc";
const two = (number) => String(number).padStart(2, "0");

let utc = false;
try { utc = localStorage.getItem(KEY) === "yes"; } catch { /* a browser that stores nothing forgets it */ }

/** Whether times are shown in UTC. */
export const inUtc = () => utc;

/** Goes from local time to UTC or back. */
export function switchZone() {
  utc = !utc;
  try { localStorage.setItem(KEY, utc ? "yes" : "no"); } catch { /* as above */ }
}

/** The parts of a time in the zone shown. */
function parts(milliseconds) {
  const date = new Date(milliseconds);
  const shift = utc ? 0 : -date.getTimezoneOffset();
  const shown = new Date(milliseconds + shift * 60_000);
  return {
    day: `${shown.getUTCFullYear()}-${two(shown.getUTCMonth() + 1)}-${two(shown.getUTCDate())}`,
    clock: `${two(shown.getUTCHours())}:${two(shown.getUTCMinutes())}:${two(shown.getUTCSeconds())}`,
    shift,
  };
}

/** The distance to UTC at a time: `UTC`, `UTC+01:00`. */
export function zoneName(milliseconds = Date.now()) {
  if (utc) return "UTC";
  const { shift } = parts(milliseconds);
  return `UTC${shift < 0 ? "−" : "+"}${two(Math.floor(Math.abs(shift) / 60))}:${two(Math.abs(shift) % 60)}`;
}

/** `12:03:11` */
export const clock = (time) => parts(time / 1000).clock;

/** `2026-11-20` */
export const day = (time) => parts(time / 1000).day;

/** `2026-11-20 12:03`, and the distance to UTC where it is not the one of this moment. */
export function dayAndClock(time, seconds = true) {
  const { day: date, clock: hours } = parts(time / 1000);
  const other = zoneName(time / 1000) === zoneName() ? "" : ` ${zoneName(time / 1000)}`;
  return `${date} ${seconds ? hours : hours.slice(0, 5)}${other}`;
}

/** A time as an element: short to read, exact to the microsecond in its title. */
export function when(time, form = "full") {
  if (time === null || time === undefined) return el("span", { class: "none" }, "–");
  const micros = String(((time % 1_000_000) + 1_000_000) % 1_000_000).padStart(6, "0");
  const { day: date, clock: hours } = parts(time / 1000);
  return el(
    "time",
    { datetime: new Date(time / 1000).toISOString(), title: `${date} ${hours}.${micros} ${zoneName(time / 1000)}` },
    form === "clock" ? hours : form === "exact" ? `${hours}.${micros.slice(0, 3)}` : dayAndClock(time),
  );
}

/** A span of milliseconds: `0.4 ms`, `12 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`. */
export function span(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  if (milliseconds < 1000) return `${milliseconds < 10 ? Number(milliseconds.toFixed(1)) : Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  const whole = Math.floor(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** Bytes: `512 B`, `1.4 kB`, `3.25 GB`, in powers of 1000. */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : Number(value.toPrecision(3))} ${UNITS[unit]}`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Bytes as an element, exact in its title. */
export const bytes = (count) => el("span", { title: count === null || count === undefined ? null : `${number(count)} bytes` }, size(count));

/** `1 234 567`, with thin spaces. */
export const number = (count) => String(count).replace(/\B(?=(\d{3})+(?!\d))/gu, "\u202f");

/** `1 session`, `2 sessions`. */
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
