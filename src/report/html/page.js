// The page: what is wrong and what to do first, then each process, then how it was found out.

const processes = Array.isArray(report.processes) ? report.processes : [];
const worstFirst = (all) => [...all].sort((a, b) => rank(a) - rank(b));
const rank = (process) => ORDER.indexOf(tone(process.verdict.severity));
const isFine = (process) => tone(process.verdict.severity) === 'info';
const detailsOf = (process) => 'process-' + Number(process.pid);

/** Up to so many processes in trouble, all of them are unfolded at first. */
const SHOWN_DETAILS = 8;

/** Troubles whose evidence is unfolded at first. */
const SHOWN_EVIDENCE = 3;

/** The processes that are not fine, those with the same trouble together, the worst first. */
function troubles() {
  const groups = new Map();
  for (const process of processes.filter((process) => !isFine(process))) {
    const { code: name, subcause, culprit: found } = process.verdict;
    const key = JSON.stringify([name, subcause, found]);
    groups.set(key, [...(groups.get(key) || []), process]);
  }
  return [...groups.values()].sort((a, b) => rank(a[0]) - rank(b[0]));
}

function advice(process) {
  const items = process.advice.map((item) => el('li', '',
    el('p', 'change', item.change),
    item.expected_effect && el('p', '', el('b', '', 'then '), item.expected_effect),
    item.risk && el('p', 'risk', el('b', '', 'risk '), item.risk),
    item.why.length > 0 && el('p', 'faint', 'because of ' + item.why.join(', ') + ' · ' + item.id)));
  return items.length ? [el('h3', '', 'What to do'), el('ol', 'advice', items)] : [];
}

function evidence(title, items) {
  if (!items.length) return [];
  const rows = items.map((item) => {
    const measured = item.value === null ? '' : number(item.value) + (item.op && item.threshold !== null ? ' ' + item.op + ' ' + number(item.threshold) : '');
    const where = item.source.split('.').flatMap((part, at) => (at ? ['.', el('wbr'), part] : part));
    return [el('b', '', item.id), el('span', '', item.observed), el('span', 'mono', measured), el('span', 'mono faint', where)];
  });
  return [el('h3', '', title), table('evidence', ['', 'seen', 'measured', 'where'], rows)];
}

function trouble(group, place) {
  const process = group[0];
  const { verdict } = process;
  const who = group.map((one) => one.role + ' ' + pid(one)).join(', ');
  const name = verdict.subcause ? verdict.code + ', ' + verdict.subcause : verdict.code;
  const against = [...evidence('Evidence', process.evidence), ...evidence('Against it', process.counter_evidence)];
  if (process.runner_up) {
    const { runner_up: next } = process;
    against.push(el('h3', '', 'Next best'), el('p', '', code(next.code), ', ' + next.margin.toFixed(2) + ' behind: ' + next.rejected_because.join('; ')));
  }
  if (process.what_would_change.length) {
    against.push(el('h3', '', 'Would change the verdict'), el('ul', '', process.what_would_change.map((text) => el('li', '', text))));
  }
  return el('section', 'card trouble ' + tone(verdict.severity),
    el('h2', '', badge(verdict.severity), ' ', el('span', 'mono', name), ' ', el('span', 'faint', who)),
    el('p', 'lead', verdict.summary),
    verdict.culprit && el('p', 'culprit', el('span', 'faint', 'in '), code(culprit(verdict.culprit))),
    advice(process),
    findings(process),
    fold('How that is known: confidence ' + band(verdict.confidence) + ' (' + verdict.confidence.toFixed(2) + '), the same in ' + verdict.sub_windows_agree + ' sub-windows', place < SHOWN_EVIDENCE, against));
}

function findings(process) {
  if (!process.findings.length) return [];
  const items = process.findings.map((item) => el('li', '', badge(item.severity), ' ', el('b', '', item.code), ': ' + item.text));
  return [el('h3', '', 'Also found'), el('ul', 'plain', items)];
}

function overview() {
  const rows = worstFirst(processes).map((process) => {
    const link = el('a', '', process.role + ' ' + pid(process));
    link.href = '#' + detailsOf(process);
    const what = el('td', isFine(process) ? 'what short' : 'what', culprit(process.verdict.culprit) || process.verdict.summary);
    what.title = what.textContent;
    return [
      el('td', 'who', link),
      el('td', 'nowrap', badge(process.verdict.severity), ' ', el('span', 'mono', process.verdict.code)),
      el('td', 'time', lane(process, 'lane') || bar(process)),
      what,
    ];
  });
  return el('section', 'card', el('h2', '', 'Processes'), legend(processes), table('overview', ['', 'verdict', 'where the time of its loop or slots went', 'what'], rows));
}

function budget(process) {
  const rows = PARTS.filter(([name]) => share(process, name) > 0).map(([name, words]) => {
    const part = process.time_budget[name];
    const sampled = part.n !== undefined ? count(part.n) + ' of ' + count(part.of) + ' samples' : part.method;
    const interval = part.ci95 ? part.ci95.map((end) => Math.round(end * 100)).join('–') + ' %' : '';
    return [el('span', '', el('i', 'swatch p-' + name), words), el('span', 'mono', percent(share(process, name))), el('span', 'faint', sampled), el('span', 'faint mono', interval)];
  });
  return [
    el('h3', '', 'Where its time went'),
    lane(process, 'lane tall') ? [lane(process, 'lane tall'), axis()] : bar(process),
    table('budget', ['', 'share', 'from', '95 % interval'], rows),
  ];
}

const turns = (each) => number(each) + (each === 1 ? ' turn' : ' turns') + ' a second';

function signs(process) {
  const facts = [];
  const { loop, heartbeat, connections, tasks, python } = process;
  if (python) facts.push(python.implementation + ' ' + python.version);
  if (loop.kind !== 'none') facts.push('loop ' + loop.kind + (loop.turns_per_s !== null ? ', ' + turns(Math.round(loop.turns_per_s * 10) / 10) : '') + (loop.longest_gap_ms !== null ? ', longest silence ' + count(loop.longest_gap_ms) + ' ms' : ''));
  if (heartbeat) facts.push('heartbeat ' + count(heartbeat.age_ms) + ' ms ago');
  if (connections) {
    facts.push(plural(connections.clients, 'client') + (connections.in_flight !== null ? ', ' + plural(connections.in_flight, 'request') + ' in flight' : ''));
    for (const backend of connections.backends) facts.push(count(backend.waiting) + (backend.waiting === 1 ? ' waits for ' : ' wait for ') + backend.peer);
  }
  if (tasks) facts.push(plural(tasks.greenlets.total, 'greenlet') + ', ' + plural(tasks.asyncio.total, 'task'));
  return facts.length ? el('p', 'faint', facts.join(' · ')) : null;
}

function threads(process) {
  if (!process.threads.length) return [];
  const part = (value) => el('span', 'mono', value === null ? '-' : percent(value));
  const rows = process.threads.map((thread) => [el('span', 'mono', thread.tid), thread.name, thread.state, part(thread.on_cpu_share), part(thread.run_queue_share), thread.gil || '', thread.sleeping_in || '']);
  return [el('h3', '', 'Threads'), table('threads', ['tid', 'name', 'state', 'on a processor', 'in the queue', 'GIL', 'asleep in'], rows)];
}

function waiting(process) {
  const items = process.tasks ? process.tasks.longest_waiting : [];
  if (!items.length) return [];
  const rows = items.map((item) => [el('span', 'mono', count(item.count)), item.kind, item.name, item.frames.length ? code(frameName(item.frames[0]) + ' (' + framePlace(item.frames[0]) + ')') : '']);
  return [el('h3', '', 'What waits in it'), table('threads', ['how many', 'kind', 'name', 'where'], rows)];
}

function details(process) {
  const picture = flame(process);
  const { verdict } = process;
  const title = el('span', '', badge(verdict.severity), ' ', el('b', '', process.role + ' ' + pid(process)), ' ', el('span', 'mono', verdict.code), ' ', el('span', 'faint', verdict.summary));
  const folded = fold(title, !isFine(process) && processes.filter((one) => !isFine(one)).length <= SHOWN_DETAILS,
    signs(process), budget(process),
    picture ? [el('h3', '', 'Its stacks'), picture] : el('p', 'faint', 'No stacks were read of it.'),
    isFine(process) ? findings(process) : [], threads(process), waiting(process));
  folded.id = detailsOf(process);
  folded.classList.add('process');
  return folded;
}

function notSeen() {
  if (!report.blind_spots.length) return null;
  const items = report.blind_spots.map((spot) => el('li', '', el('b', '', spot.what), ': ' + spot.why + '. ', el('span', 'faint', 'What helps: ' + spot.remedy + '.')));
  return el('section', 'card', el('h2', '', 'Not seen'), el('ul', '', items));
}

function look() {
  const { collection, tool, host, exit, server } = report;
  const { burst } = collection;
  const queue = server.accept_queue;
  const rows = [
    ['the target', burst.used ? plural(burst.stops, 'stop') + ' of ' + plural(burst.threads, 'thread') + '; nothing was written into it' : 'was never stopped, and nothing was written into it'],
    ['looked', (collection.duration_ms / 1000).toFixed(1) + ' s at ' + count(collection.rate_hz) + ' per second, level ' + collection.level + ', from ' + collection.started_at],
    ['machine', host.hostname + ', ' + host.kernel + ', ' + host.arch + ', ' + plural(host.cpus, 'processor')],
    ['accept queue', queue.max === null ? 'not seen' : 'at most ' + count(queue.max) + (queue.backlog === null ? '' : ' of ' + count(queue.backlog)) + (queue.share_nonzero === null ? '' : ', somebody waits in ' + percent(queue.share_nonzero) + ' of the readings')],
    collection.self && ['our cost', count(collection.self.cpu_ms) + ' ms of processor time, ' + (collection.self.rss_kib / 1024).toFixed(1) + ' MiB'],
    ['stallscope', tool.version + ', rules ' + tool.rules_version],
    ['exit code', exit.code + ': ' + exit.reason],
  ];
  return el('section', 'card', el('h2', '', 'This look'), table('facts', ['', ''], rows.filter(Boolean)));
}

function build() {
  const wrong = troubles().map(trouble);
  const page = document.getElementById('page');
  page.append(
    ...(wrong.length ? wrong : [el('section', 'card', el('p', 'lead', processes.length ? 'Nothing is wrong with any of its processes.' : 'None of its processes was looked at.'))]),
    ...(processes.length ? [overview(), el('section', 'card', el('h2', '', 'Each process'), worstFirst(processes).map(details))] : []),
    ...[notSeen(), look()].filter(Boolean));
  document.getElementById('plain').hidden = true;
}

/** Opens what a link points to, and for printing everything that explains a verdict. */
function follow() {
  const wanted = document.getElementById(location.hash.slice(1));
  if (wanted instanceof HTMLDetailsElement) {
    wanted.open = true;
    wanted.scrollIntoView();
  }
}

build();
follow();
addEventListener('hashchange', follow);
let closed = [];
addEventListener('beforeprint', () => {
  closed = [...document.querySelectorAll('details:not([open])')];
  for (const details of closed) details.open = true;
});
addEventListener('afterprint', () => {
  for (const details of closed) details.open = false;
});
