'use strict';
// The page is made here from the report's data. Whatever a process can be called becomes a text node; numbers become
// lengths. Nothing of it becomes markup, an address, a style or the name of a class.

const data = JSON.parse(document.getElementById('data').textContent);
const report = data.report;

/** Longest text that is shown whole. */
const LONGEST = 1200;

/** Characters that would reorder, hide or break a line, made visible as the other forms of the report do. */
const HARMFUL = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0\u{fe00}-\u{fe0f}\u{e0100}-\u{e01ef}]/gu;

function visible(text) {
  const shown = String(text).replace(HARMFUL, (c) => '\\u{' + c.codePointAt(0).toString(16) + '}');
  return shown.length > LONGEST ? shown.slice(0, LONGEST) + '… (' + shown.length + ' characters)' : shown;
}

/** An element with classes of ours; what is inside are elements or texts. */
function el(name, classes, ...inside) {
  const element = document.createElement(name);
  if (classes) element.className = classes;
  for (const item of inside.flat(2)) {
    if (item === null || item === undefined || item === '' || item === false) continue;
    element.append(item instanceof Node ? item : visible(item));
  }
  return element;
}

/** The name of SVG; nothing is fetched from there. */
const SVG = 'http://www.w3.org/2000/svg';

function svg(name, attributes, ...inside) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

const code = (text) => el('code', '', text);
const SEVERITIES = { critical: 'CRITICAL', warning: 'WARNING', info: 'ok' };
const ORDER = ['critical', 'warning', 'unknown', 'info'];

/** A severity as one of our own words. */
function tone(severity) {
  return Object.hasOwn(SEVERITIES, severity) ? severity : 'unknown';
}

function badge(severity) {
  return el('span', 'badge ' + tone(severity), SEVERITIES[tone(severity)] || 'UNKNOWN');
}

function percent(share) {
  const value = share * 100;
  const fine = (value > 0 && value < 1) || (value > 99 && value < 100);
  return value.toFixed(fine ? 1 : 0) + ' %';
}

function count(number) {
  return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ',');
}

/** A number of things. */
const plural = (number, thing) => count(number) + ' ' + thing + (number === 1 ? '' : 's');

function number(value) {
  const rounded = Math.round(value * 1000) / 1000;
  return Number.isInteger(rounded) && rounded >= 0 ? count(rounded) : String(rounded);
}

function band(confidence) {
  return confidence >= 0.9 ? 'high' : confidence >= 0.7 ? 'medium' : confidence >= 0.5 ? 'low' : 'too low';
}

/** Who or what is to blame, in a few words. */
function culprit(found) {
  if (!found) return null;
  const place = found.file ? found.file + (found.line > 0 ? ':' + found.line : '') : null;
  const where = found.function && place ? found.function + ' (' + place + ')' : found.function || place;
  const hasFd = found.fd !== undefined && found.fd !== null;
  const thing = hasFd ? 'fd ' + found.fd + (found.what ? ', ' + found.what : '') : found.what;
  const parts = [where, thing, found.peer ? 'peer ' + found.peer : null].filter(Boolean);
  return parts.length ? parts.join('; ') : found.kind;
}

/** A pid as both sides know it. */
function pid(process) {
  return process.ns_pid === process.pid ? String(process.pid) : process.pid + ' (in its container ' + process.ns_pid + ')';
}

function table(classes, heads, rows) {
  const head = el('tr', '', heads.map((text) => el('th', '', text)));
  const body = rows.map((cells) => el('tr', '', cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : el('td', '', cell)))));
  return el('div', 'scroll', el('table', classes, el('thead', '', head), el('tbody', '', body)));
}

/** A closed part of the page that a key or a click opens. */
function fold(title, open, ...inside) {
  const details = el('details', 'fold', el('summary', '', title), ...inside);
  details.open = open;
  return details;
}
