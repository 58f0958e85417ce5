// Where the map comes from, what is built in, where programs ask.

import { fill, h } from "../dom.js";
import { t } from "../i18n.js";
import { pageHead } from "../parts.js";

const SOURCES = [
  ["Leaflet 1.9.4", "BSD-2-Clause", "/console/vendor/leaflet/LICENSE"],
  ["uPlot 1.6.32", "MIT", "/console/vendor/uplot/LICENSE"],
  ["Inter 4 (@fontsource-variable/inter 5.3.0)", "OFL-1.1", "/console/vendor/inter/LICENSE"],
];
const MAPS = [
  ["about.map.coast", "LGPL-3.0-or-later", "/map/licences/LGPL-3.0.txt"],
  ["about.map.communes", "MIT", "/map/licences/MIT-vietnamese-provinces-database.txt"],
  ["about.map.districts", "CC0", "/map/README.md"],
  ["about.map.places", "CC BY", "/map/README.md"],
];
const DOORS = ["/openapi.json", "/metrics", "/ready", "/api/v1/stations", "/api/v1/ledger"];

export async function show(root) {
  fill(root, pageHead(t("about.title")), h("p", { class: "lead" }, t("about.lead")),
    section(t("about.map"), [h("p", {}, t("about.map.text")), table(MAPS.map(([key, ...rest]) => [t(key), ...rest])),
      h("p", {}, h("a", { href: "/map/README.md" }, t("about.map.readme")))]),
    section(t("about.libraries"), table(SOURCES)),
    section(t("about.doors"), [h("p", {}, t("about.doors.text")), h("ul", { class: "plain" }, DOORS.map((path) => h("li", {}, h("a", { href: path }, h("code", {}, path)))))]));
  return t("about.title");
}

function section(title, ...content) {
  return h("section", { class: "card" }, h("h2", {}, title), content);
}

function table(rows) {
  return h("table", { class: "table compact" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("about.what")), h("th", { scope: "col" }, t("about.licence")))),
    h("tbody", {}, rows.map(([what, licence, path]) => h("tr", {}, h("th", { scope: "row" }, what), h("td", {}, h("a", { href: path }, licence))))));
}
