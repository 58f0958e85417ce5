// Small drawings, made as elements. States differ by shape as well as by colour.

import { s } from "./dom.js";

const PATHS = {
  map: ["M3 6.5 9 4l6 2.500L21 4v13.500L15 20l-6-2.500L3 20Z", "M9 4v13.500M15 6.500V20"],
  stations: ["M12 13.500v7M8.5 20.500h7", "M12 10.500a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3Z", "M8.1 15.900a5.5 5.5 0 0 1 0-7.800M15.9 8.100a5.5 5.5 0 0 1 0 7.800M5.3 18.700a9.5 9.5 0 0 1 0-13.400M18.7 5.300a9.5 9.5 0 0 1 0 13.4"],
  books: ["M4 19.500V5a1.5 1.5 0 0 1 1.5-1.500H20v17H5.500A1.5 1.5 0 0 1 4 19a1.5 1.5 0 0 1 1.5-1.500H20", "M8.5 8h7M8.5 11.500h5"],
  quarantine: ["M12 3 4.5 6v5.500c0 4.5 3.2 7.8 7.5 9.5 4.3-1.7 7.5-5 7.5-9.500V6Z", "M12 8v4.500M12 15.800v.2"],
  sun: ["M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Z", "M12 2.500v2M12 19.500v2M2.5 12h2M19.5 12h2M5.3 5.300l1.4 1.400M17.3 17.300l1.4 1.400M18.7 5.300l-1.4 1.400M6.7 17.300l-1.4 1.4"],
  moon: ["M20 14.500A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.500Z"],
  auto: ["M12 3.500a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z", "M12 3.500v17M12 7l5-1M12 11h8.400M12 15h7.800M12 19l4-.5"],
  search: ["M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.3 15.3 20.5 20.5"],
  chevron: ["M9 5.5 15.5 12 9 18.5"],
  back: ["M15 5.5 8.5 12l6.5 6.5"],
  check: ["M4.5 12.5 9.5 17.5 19.5 6.5"],
  cross: ["M6 6l12 12M18 6 6 18"],
  target: ["M12 6a6 6 0 1 0 0 12 6 6 0 0 0 0-12Z", "M12 2.5V8M12 16v5.5M2.5 12H8M16 12h5.5"],
  info: ["M12 3.500a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z", "M12 11v5.500M12 7.500v.3"],
};

/** An icon of the list above, hidden from screen readers: a text always stands beside it or in a label. */
export function icon(name, size = 20) {
  return s("svg", { class: "icon", viewBox: "0 0 24 24", width: size, height: size, "aria-hidden": "true", focusable: "false" },
    PATHS[name].map((d) => s("path", { d })));
}

/** The shape of a station's state, `size` pixels wide. */
export function stateShape(state, size = 14) {
  const shapes = {
    fresh: () => [s("circle", { cx: 8, cy: 8, r: 6, class: "shape" })],
    late: () => [s("path", { d: "M8 1.8 14.6 13.400H1.400Z", class: "shape" })],
    silent: () => [s("rect", { x: 2.9, y: 2.9, width: 10.2, height: 10.2, rx: 2, class: "shape" })],
    suspect: () => [
      s("path", { d: "M8 .7 15.3 8 8 15.3.7 8Z", class: "shape" }),
      s("path", { d: "M8 4.400v4.300M8 11v.5", class: "mark" }),
    ],
  };
  return s("svg", { class: `state-shape is-${state}`, viewBox: "0 0 16 16", width: size, height: size, "aria-hidden": "true", focusable: "false" },
    shapes[state]());
}
