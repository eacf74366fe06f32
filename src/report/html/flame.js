// A flame graph of the stacks in the report: the root on top, as wide as a stack was often seen. Each frame is a button,
// so that a keyboard reaches it; choosing one makes it as wide as the graph, choosing it again goes back.

/** Deepest frame that is drawn. */
const DEEPEST = 200;

function frameName(frame) {
  return frame.function || '?';
}

function framePlace(frame) {
  return frame.file + (frame.line > 0 ? ':' + frame.line : '');
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
  const told = el('p', 'told');
  told.setAttribute('aria-live', 'polite');
  const tell = (node) => {
    told.replaceChildren(el('b', '', node.name), ' ', el('span', 'faint', node.place), ' ', percent(node.weight / root.weight));
  };
  const draw = (zoomed) => {
    rows.replaceChildren();
    let depth = 0;
    const put = (node, left, width, row, isZoomed) => {
      const button = el('button', frameClass(node) + (isZoomed ? ' zoomed' : ''), node.name);
      button.type = 'button';
      button.style.left = (left * 100).toFixed(4) + '%';
      button.style.width = (width * 100).toFixed(4) + '%';
      button.style.top = row * 1.45 + 'rem';
      button.title = visible(node.name + '\n' + node.place + '\n' + percent(node.weight / root.weight));
      button.addEventListener('click', () => {
        redraw(isZoomed ? [] : node.path);
      });
      for (const when of ['mouseenter', 'focus']) button.addEventListener(when, () => tell(node));
      rows.append(button);
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
  });
  return el('figure', 'stacks', el('div', 'deep', rows), told);
}
