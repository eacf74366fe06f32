// A flame graph of the stacks in the report: the root on top, as wide as a stack was often seen. Each frame is a button:
// choosing one makes it as wide as the graph, choosing it again goes back. One of them is a stop of the tabulator, from
// there arrows lead to the others.

/** Deepest frame that is drawn. */
const DEEPEST = 200;

/** Frames from that share of the width on have room for where they are. */
const WIDE = 0.3;

function frameName(frame) {
  return frame.function || '?';
}

function framePlace(frame) {
  return frame.file + (frame.line > 0 ? ':' + frame.line : '');
}

/** The last part of a path. */
function shortPlace(place) {
  return place.split('/').pop();
}

/** Stacks that begin alike share their frames. */
function grow(stacks) {
  const root = { name: 'all', place: '', kind: 'root', weight: 0, inner: new Map() };
  for (const stack of stacks) {
    const weight = Number(stack.share) || 0;
    root.weight += weight;
    let node = root;
    for (const frame of [...stack.frames].reverse().slice(0, DEEPEST)) {
      const key = JSON.stringify([frame.function, frame.file, frame.line]);
      if (!node.inner.has(key)) {
        node.inner.set(key, { name: frameName(frame), place: framePlace(frame), kind: frame.kind, weight: 0, inner: new Map() });
      }
      node = node.inner.get(key);
      node.weight += weight;
    }
  }
  return root;
}

/** One of our colours; frames of one file look alike. */
function frameClass(node) {
  if (node.kind === 'native') return 'frame native';
  if (node.kind === 'kernel') return 'frame kernel';
  let sum = 0;
  for (const c of node.place.split(':')[0]) sum = (sum * 31 + c.codePointAt(0)) % 997;
  return 'frame f' + (sum % 5);
}

function flame(process) {
  const root = grow(process.stacks || []);
  if (root.weight <= 0) return null;
  const rows = el('div', 'flame');
  rows.setAttribute('role', 'group');
  rows.setAttribute('aria-label', 'flame graph: arrows move, Enter enlarges, Escape goes back');
  const told = el('p', 'told');
  told.setAttribute('aria-live', 'polite');
  told.append(el('span', 'faint', 'Choose a frame to enlarge it; arrows lead on, Escape leads back.'));
  const tell = (node) => {
    told.replaceChildren(el('b', '', node.name), ' ', el('span', 'faint', node.place), ' ', percent(node.weight / root.weight));
  };
  let grid = [];
  const draw = (zoomed) => {
    rows.replaceChildren();
    grid = [];
    let depth = 0;
    const put = (node, left, width, row, isZoomed) => {
      const button = el('button', frameClass(node) + (isZoomed ? ' zoomed' : ''), node.name, width >= WIDE && el('span', 'place', shortPlace(node.place)));
      button.type = 'button';
      button.tabIndex = -1;
      button.style.left = (left * 100).toFixed(4) + '%';
      button.style.width = (width * 100).toFixed(4) + '%';
      button.style.top = row * 1.45 + 'rem';
      button.title = visible(node.name + '\n' + node.place + '\n' + percent(node.weight / root.weight));
      button.addEventListener('click', () => {
        redraw(isZoomed ? [] : node.path);
      });
      for (const when of ['mouseenter', 'focus']) button.addEventListener(when, () => tell(node));
      rows.append(button);
      grid[row] = [...(grid[row] || []), { button, left, right: left + width }];
      depth = Math.max(depth, row + 1);
    };
    // Above the frame that was chosen stand those that called it, as wide as everything.
    let node = root;
    let row = 0;
    for (const step of zoomed) {
      node = step;
      put(node, 0, 1, row, step === zoomed[zoomed.length - 1]);
      row += 1;
    }
    const spread = (parent, path, left, scale, at) => {
      let x = left;
      for (const inner of [...parent.inner.values()].sort((a, b) => b.weight - a.weight)) {
        const width = inner.weight * scale;
        inner.path = [...path, inner];
        if (width >= 0.001) {
          put(inner, x, width, at, false);
          spread(inner, inner.path, x, scale, at + 1);
        }
        x += width;
      }
    };
    spread(node, zoomed, 0, 1 / node.weight, row);
    rows.style.height = depth * 1.45 + 'rem';
    const stop = rows.querySelector('.zoomed') || rows.querySelector('.frame');
    if (stop) stop.tabIndex = 0;
  };
  /** The frame that an arrow leads to: a neighbour, the caller, or the first that was called. */
  const beside = (key, from) => {
    const row = grid.findIndex((frames) => frames.some((frame) => frame.button === from));
    if (row < 0) return undefined;
    const at = grid[row].findIndex((frame) => frame.button === from);
    const { left, right } = grid[row][at];
    if (key === 'ArrowLeft') return grid[row][at - 1];
    if (key === 'ArrowRight') return grid[row][at + 1];
    if (key === 'ArrowUp') return (grid[row - 1] || []).filter((frame) => frame.left <= left + 1e-9).pop();
    if (key === 'ArrowDown') return (grid[row + 1] || []).find((frame) => frame.left >= left - 1e-9 && frame.left < right);
    return undefined;
  };
  // The frame that had the focus is gone; whoever came by keyboard goes on from the one in its place.
  const redraw = (zoomed) => {
    draw(zoomed);
    const again = rows.querySelector('.zoomed') || rows.querySelector('.frame');
    if (again) again.focus({ preventScroll: true });
  };
  draw([]);
  rows.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') redraw([]);
    const next = beside(event.key, event.target);
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.button.tabIndex = 0;
    next.button.focus();
  });
  return el('figure', 'stacks', el('div', 'deep', rows), told);
}
