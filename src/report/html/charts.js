// Where the time went: a bar for the whole window, and a lane of slices.

/** The parts of a time budget: our name for a class, and words. */
const PARTS = [
  ['on_cpu', 'on a processor'],
  ['throttled', 'throttled by its quota'],
  ['run_queue', 'waiting for a processor'],
  ['own_poller', 'asleep in its own poller'],
  ['client_socket', 'waiting for a client'],
  ['upstream_socket', 'waiting for a backend'],
  ['gil', 'waiting for the GIL'],
  ['lock', 'waiting for a lock'],
  ['disk', 'waiting for storage'],
  ['other', 'another sleep'],
  ['stopped', 'stopped'],
];

const lanes = new Map(((data.timeline || {}).lanes || []).map((lane) => [lane.pid, lane]));
const share = (process, name) => Math.min(Math.max(Number((process.time_budget[name] || {}).share) || 0, 0), 1);
const used = (processes) => PARTS.filter(([name]) => processes.some((process) => share(process, name) >= 0.0005));

function legend(processes) {
  const items = used(processes).map(([name, words]) => el('li', '', el('i', 'swatch p-' + name), words));
  const isEmpty = (slice) => slice.every((value) => !value);
  if ([...lanes.values()].some((lane) => lane.slices.some(isEmpty))) items.push(el('li', '', el('i', 'swatch p-none'), 'not sampled'));
  return el('ul', 'legend', items);
}

/** In words, the largest first: what a bar says to whoever cannot see it. */
function spoken(process) {
  const parts = PARTS.map(([name, words]) => [share(process, name), words]).filter(([value]) => value >= 0.005);
  return parts.sort((a, b) => b[0] - a[0]).map(([value, words]) => percent(value) + ' ' + words).join(', ');
}

function bar(process) {
  const parts = PARTS.filter(([name]) => share(process, name) > 0).map(([name, words]) => {
    const part = el('span', 'p-' + name);
    part.style.flexGrow = share(process, name);
    part.title = words + ': ' + percent(share(process, name));
    return part;
  });
  const whole = el('div', 'bar', parts);
  whole.setAttribute('role', 'img');
  whole.setAttribute('aria-label', spoken(process) || 'no time was measured');
  return whole;
}

/** A lane of slices; where the window was cut to be judged is marked. */
function lane(process, classes) {
  const found = lanes.get(process.pid);
  if (!found || !found.slices.length) return null;
  const whole = Math.max(data.timeline.window_ms, 1);
  const width = (found.end_ms - found.start_ms) / whole / found.slices.length;
  const marks = [];
  const add = (shape, attributes) => marks.push(svg(shape, attributes));
  found.slices.forEach((slice, at) => {
    // What it did stands at the bottom, what it waited for above.
    let below = 0;
    slice.forEach((value, part) => {
      const height = Math.min(Number(value) / 10, 100 - below);
      if (height <= 0 || !PARTS[part]) return;
      below += height;
      const x = (found.start_ms / whole + at * width) * 1000;
      add('rect', { class: 'p-' + PARTS[part][0], x: x.toFixed(2), y: (100 - below).toFixed(1), width: (width * 1000 + 0.6).toFixed(2), height: height.toFixed(1) });
    });
  });
  const cuts = Math.min(Number(report.collection.sub_windows) || 1, 12);
  for (let cut = 1; cut < cuts; cut += 1) {
    const x = (found.start_ms + ((found.end_ms - found.start_ms) * cut) / cuts) / whole;
    const at = (x * 1000).toFixed(2);
    add('line', { class: 'cut', x1: at, x2: at, y1: 0, y2: 100, 'vector-effect': 'non-scaling-stroke' });
  }
  const picture = svg('svg', { class: classes, viewBox: '0 0 1000 100', preserveAspectRatio: 'none', role: 'img' }, ...marks);
  const words = spoken(process);
  picture.setAttribute('aria-label', 'time line of process ' + Number(process.pid) + ': ' + words);
  picture.prepend(svg('title', {}, words));
  return picture;
}

/** The seconds below a lane. */
function axis() {
  const seconds = (data.timeline ? data.timeline.window_ms : 0) / 1000;
  const marks = [0, 0.25, 0.5, 0.75, 1].map((part) => el('span', '', (seconds * part).toFixed(1) + ' s'));
  return el('div', 'axis', marks);
}
