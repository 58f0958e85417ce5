// Which stations share a marker: greedy, in pixels of one zoom, and the same at every call for the same stations.

/** Markers nearer than this to each other would overlap. */
const RADIUS_PX = 54;
/** Groups that move to the mean of their members may come near others again. */
const ROUNDS_MAX = 4;

/**
 * Groups `points` (`{x, y, station}`, in pixels) to `{x, y, members}`. A group lies at the mean of its members. The work
 * grows with the number of points, not with its square.
 */
export function clusters(points) {
  let groups = points.map(({ x, y, station }) => ({ x, y, members: [station] }));
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const before = groups.length;
    groups = merged(groups);
    if (groups.length === before) break;
  }
  return groups;
}

/** One round: each group joins the nearest one before it within the radius. */
function merged(points) {
  const cells = new Map();
  const groups = [];
  for (const point of points) {
    const near = nearest(cells, point);
    if (near) {
      near.members.push(...point.members);
      near.sum_x += point.x * point.members.length;
      near.sum_y += point.y * point.members.length;
    } else {
      const weight = point.members.length;
      const group = { first: point, members: [...point.members], sum_x: point.x * weight, sum_y: point.y * weight };
      groups.push(group);
      const cell = cellOf(point.x, point.y);
      if (!cells.has(cell)) cells.set(cell, []);
      cells.get(cell).push(group);
    }
  }
  return groups.map((group) => ({ x: group.sum_x / group.members.length, y: group.sum_y / group.members.length, members: group.members }));
}

function cellOf(x, y) {
  return `${Math.floor(x / RADIUS_PX)} ${Math.floor(y / RADIUS_PX)}`;
}

function nearest(cells, point) {
  let best = null;
  let best_distance = RADIUS_PX * RADIUS_PX;
  for (let dx = -1; dx <= 1; dx += 1) {
    for (let dy = -1; dy <= 1; dy += 1) {
      for (const group of cells.get(cellOf(point.x + dx * RADIUS_PX, point.y + dy * RADIUS_PX)) ?? []) {
        const distance = (group.first.x - point.x) ** 2 + (group.first.y - point.y) ** 2;
        if (distance < best_distance) {
          best = group;
          best_distance = distance;
        }
      }
    }
  }
  return best;
}
