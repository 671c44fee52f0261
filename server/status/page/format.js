// Numbers as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const UNKNOWN = "–";

// Three digits or four, without zeroes at the end of a fraction.
function digits(value) {
  const places = value < 10 ? 2 : value < 100 ? 1 : 0;
  return String(Number(value.toFixed(places)));
}

export function bytes(value) {
  if (value === null) return UNKNOWN;
  let unit = 0;
  while (value >= 1023.5 && unit + 1 < UNITS.length) {
    value /= 1024;
    unit += 1;
  }
  return `${digits(value)} ${UNITS[unit]}`;
}

export const bytesPerSecond = (value) =>
  value === null ? UNKNOWN : `${bytes(value)}/s`;

export const count = (value) => value.toLocaleString("en");

export function perSecond(value) {
  if (value === null) return UNKNOWN;
  if (value >= 999_500) return `${digits(value / 1e6)} M/s`;
  if (value >= 9_995) return `${digits(value / 1e3)} k/s`;
  return `${digits(value)}/s`;
}

export function seconds(value) {
  if (value === null) return UNKNOWN;
  if (value >= 0.9995) return `${digits(value)} s`;
  if (value >= 0.0009995) return `${digits(value * 1e3)} ms`;
  return `${digits(value * 1e6)} µs`;
}

export const ratio = (value) => (value === null ? UNKNOWN : `${value.toFixed(2)}`);

export const percent = (value) =>
  value === null ? UNKNOWN : `${digits(value * 100)} %`;

export const time = (ms) => new Date(ms).toLocaleTimeString("en-GB");

// "3 days 4 h", "2 h 5 min", "12 s".
export function duration(ms) {
  const parts = [
    [Math.floor(ms / 86_400_000), "days"],
    [Math.floor(ms / 3_600_000) % 24, "h"],
    [Math.floor(ms / 60_000) % 60, "min"],
    [Math.floor(ms / 1000) % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value} ${value === 1 && unit === "days" ? "day" : unit}`)
    .join(" ");
}
