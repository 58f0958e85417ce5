// Which stations share a marker: greedy, in pixels of one zoom, and the same at every call for the same stations.

/** Markers nearer than this to each other would overlap. */
const RADIUS_PX = 42;

/**
 * Groups `points` (`{x, y, station}`, in pixels) so that no two groups' first members are nearer than the radius. A group
 * lies at the mean of its members. The work grows with the number of points, not with its square.
 */
export function clusters(points) {
  const cells = new Map();
  const groups = [];
  for (const point of points) {
    const near = nearest(cells, point);
    if (near) {
      near.members.push(point.station);
      near.sum_x += point.x;
      near.sum_y += point.y;
    } else {
      const group = { first: point, members: [point.station], sum_x: point.x, sum_y: point.y };
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
