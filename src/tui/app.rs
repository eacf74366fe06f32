//! What the view knows and what each key does to it. Pure: no terminal, no clock; time comes with the snapshots.
//!
//! Rows are known by the process's identity (pid and start time), never by their place, so that the selection stays
//! on the same worker when they are sorted anew or one of them ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::columns::{Column, SORTABLE};
use super::keys::{Action, Place};
use crate::capture::live::{Live, LiveProcess};
use crate::capture::model::Role;
use crate::report::model::{Process, Report};
use crate::report::words::word;

/// Values that a history keeps, one a second.
const HISTORY: usize = 120;
/// Events that are kept of a process.
const EVENTS: usize = 50;
/// How long an ended process stays in the list.
const FADE_NS: u64 = 8_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The identity of a process: pid and start time.
pub type Id = (i32, u64);

/// What the looking side last published.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The newest numbers.
    pub live: Live,
    /// The newest judgement; `None` while too little was seen.
    pub report: Option<Arc<Report>>,
    /// How far a capture has been played, and how long it is.
    pub played: Option<(u64, u64)>,
}

/// Something that happened to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, on the wall clock.
    pub realtime_ns: u64,
    /// What.
    pub text: String,
}

/// A process as the view knows it.
#[derive(Debug)]
pub struct Row {
    /// Who.
    pub id: Id,
    /// What it is for.
    pub role: Role,
    /// Its newest numbers.
    pub live: LiveProcess,
    /// Its newest judgement.
    pub judged: Option<Process>,
    /// Processors used, one value a second.
    pub cpu: VecDeque<f64>,
    /// Longest gap of each judged window, in milliseconds.
    pub gaps: VecDeque<f64>,
    /// What happened to it.
    pub events: VecDeque<Event>,
    /// When it ended.
    pub gone_at_ns: Option<u64>,
}

/// What the terminal's side has to do after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Draw.
    None,
    /// Leave.
    Quit {
        /// Whether Ctrl-C asked for it.
        interrupted: bool,
        /// Whether to print the report.
        print: bool,
    },
    /// Write the report that is shown.
    Write,
    /// Begin again.
    Reset,
    /// Draw everything anew.
    Redraw,
    /// Stop until the shell goes on.
    Suspend,
    /// Hold a played capture, or let it go on.
    Pause(bool),
}

/// The state of the view.
#[derive(Debug)]
pub struct App {
    /// What is shown.
    pub shown: Arc<Snapshot>,
    /// All processes.
    pub rows: BTreeMap<Id, Row>,
    /// Whether the keys are shown.
    pub help: bool,
    /// Whether the picture is held.
    pub paused: bool,
    /// What is open: the list, or the page of the selected worker. It is also whose keys are valid.
    pub open: Place,
    /// First line of the page that is shown.
    pub scroll: usize,
    /// Lines that the page could be scrolled, as last drawn.
    pub most_scroll: usize,
    /// Lines of the list or page, as last drawn.
    pub screen: usize,
    /// What the list must contain.
    pub filter: String,
    /// Whether the filter is being typed, and what it was before.
    pub typing: Option<String>,
    /// What the list is sorted by.
    pub sort: Column,
    /// Whether the order is turned around.
    pub inverted: bool,
    /// Something to tell once.
    pub message: Option<String>,
    selected: Option<Id>,
    /// The selected row's place, once somebody has chosen.
    place: Option<usize>,
    second: u64,
}

impl Default for App {
    fn default() -> Self {
        Self {
            shown: Arc::default(),
            rows: BTreeMap::new(),
            help: false,
            paused: false,
            open: Place::List,
            scroll: 0,
            most_scroll: 0,
            screen: 10,
            filter: String::new(),
            typing: None,
            sort: Column::Verdict,
            inverted: false,
            message: None,
            selected: None,
            place: None,
            second: 0,
        }
    }
}

impl App {
    /// Takes what was published, unless the picture is held. Says whether anything changed.
    pub fn take(&mut self, snapshot: &Arc<Snapshot>) -> bool {
        if self.paused || Arc::ptr_eq(&self.shown, snapshot) {
            return false;
        }
        if snapshot.live.at_ns < self.shown.live.at_ns {
            self.forget();
        }
        let new_report = match (&self.shown.report, &snapshot.report) {
            (_, None) => None,
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => None,
            (_, Some(new)) => Some(Arc::clone(new)),
        };
        self.shown = Arc::clone(snapshot);
        self.update_rows();
        if let Some(report) = new_report {
            self.update_judgements(&report);
        }
        self.hold_selection();
        true
    }

    fn update_rows(&mut self) {
        let live = &self.shown.live;
        let first = self.rows.is_empty();
        let second = live.at_ns / SECOND_NS;
        let next_second = second != self.second;
        self.second = second;
        let event = |text: &str| Event { realtime_ns: live.realtime_ns, text: text.to_owned() };
        for process in &live.processes {
            let id = (process.pid, process.start_time_ticks);
            let row = self.rows.entry(id).or_insert_with(|| {
                let mut row = Row::new(process);
                if !first {
                    row.tell(event("born"));
                }
                row
            });
            row.live = process.clone();
            if process.gone && row.gone_at_ns.is_none() {
                row.gone_at_ns = Some(live.at_ns);
                row.tell(event("ended"));
            }
            if next_second && !process.gone {
                keep(&mut row.cpu, process.cpu.unwrap_or(0.0), HISTORY);
            }
        }
        for row in self.rows.values_mut() {
            let there = live.processes.iter().any(|p| (p.pid, p.start_time_ticks) == row.id);
            if !there && row.gone_at_ns.is_none() {
                row.gone_at_ns = Some(live.at_ns);
                row.tell(event("ended"));
            }
        }
        self.rows.retain(|_, row| row.gone_at_ns.is_none_or(|gone| live.at_ns < gone + FADE_NS));
    }

    fn update_judgements(&mut self, report: &Report) {
        let realtime_ns = self.shown.live.realtime_ns;
        for process in &report.processes {
            let Some(row) = self.rows.get_mut(&(process.pid, process.start_time_ticks)) else { continue };
            let before = row.judged.as_ref().map(|p| p.verdict.code);
            if before != Some(process.verdict.code) {
                let code = word(&process.verdict.code);
                let text = before.map_or_else(|| code.clone(), |b| format!("{} -> {code}", word(&b)));
                row.tell(Event { realtime_ns, text });
            }
            if let Some(gap) = process.event_loop.longest_gap_ms {
                keep(&mut row.gaps, gap as f64, HISTORY);
            }
            row.judged = Some(process.clone());
        }
    }

    /// The rows to show, in order.
    #[must_use]
    pub fn visible(&self) -> Vec<&Row> {
        let filter = self.filter.to_lowercase();
        let contains = |row: &&Row| filter.is_empty() || row.line().to_lowercase().contains(&filter);
        let mut rows: Vec<&Row> = self.rows.values().filter(contains).collect();
        rows.sort_by(|a, b| {
            let order = self.sort.compare(a, b);
            let order = if self.inverted { order.reverse() } else { order };
            order.then_with(|| Column::Pid.compare(a, b))
        });
        rows
    }

    /// The selected row.
    #[must_use]
    pub fn selected(&self) -> Option<&Row> {
        self.rows.get(&self.selected?)
    }

    /// Keeps the selection on the same process; where it is gone, on whoever took its place. Until somebody chooses, it
    /// is on the first: sorted by verdict, that is who needs it most.
    fn hold_selection(&mut self) {
        let ids: Vec<Id> = self.visible().iter().map(|row| row.id).collect();
        if self.place.is_none() && !self.on_page() {
            self.selected = ids.first().copied();
            return;
        }
        match self.selected.and_then(|id| ids.iter().position(|other| *other == id)) {
            Some(place) => self.place = Some(place),
            // A page stays open on the process that it is about, as long as that is known.
            None if self.on_page() && self.selected().is_some() => {}
            None => {
                let place = self.place.unwrap_or(0).min(ids.len().saturating_sub(1));
                self.place = Some(place);
                self.selected = ids.get(place).copied();
                if self.selected.is_none() {
                    self.open = Place::List;
                }
            }
        }
    }

    /// Whether the page of a worker is open.
    #[must_use]
    pub fn on_page(&self) -> bool {
        self.open == Place::Page
    }

    /// Does what a key asks for.
    pub fn update(&mut self, action: Action) -> Effect {
        self.message = None;
        // While the keys are shown, nothing moves behind them.
        let closes = [Action::Help, Action::Back, Action::Quit];
        if self.help && action != Action::Interrupt {
            self.help = !closes.contains(&action);
            return Effect::None;
        }
        match action {
            Action::Quit => return Effect::Quit { interrupted: false, print: false },
            Action::QuitAndPrint => return Effect::Quit { interrupted: false, print: true },
            Action::Interrupt => return Effect::Quit { interrupted: true, print: false },
            Action::Help => self.help = !self.help,
            Action::Back => self.back(),
            Action::Open if self.selected().is_some() => {
                self.open = Place::Page;
                self.place.get_or_insert(0);
                self.scroll = 0;
            }
            Action::Open => {}
            Action::Up => self.go(-1),
            Action::Down => self.go(1),
            Action::PageUp => self.go(-(self.screen.max(2) as isize - 1)),
            Action::PageDown => self.go(self.screen.max(2) as isize - 1),
            Action::First => self.go(isize::MIN),
            Action::Last => self.go(isize::MAX),
            Action::NextWorker => self.turn_page(1),
            Action::PreviousWorker => self.turn_page(-1),
            Action::Pause => {
                self.paused = !self.paused;
                return Effect::Pause(self.paused);
            }
            Action::SortLeft => self.choose(-1),
            Action::SortRight => self.choose(1),
            Action::Invert => self.inverted = !self.inverted,
            Action::Filter => self.typing = Some(self.filter.clone()),
            Action::Write => return Effect::Write,
            Action::Reset => {
                self.forget();
                self.paused = false;
                return Effect::Reset;
            }
            Action::Redraw => return Effect::Redraw,
            Action::Suspend => return Effect::Suspend,
        }
        self.hold_selection();
        Effect::None
    }

    fn back(&mut self) {
        if self.on_page() {
            self.open = Place::List;
        } else {
            self.filter.clear();
        }
    }

    fn go(&mut self, by: isize) {
        let moved = |from: usize, most: usize| from.saturating_add_signed(by).min(most);
        if self.on_page() {
            self.scroll = moved(self.scroll, self.most_scroll);
        } else {
            self.select(moved(self.place.unwrap_or(0), usize::MAX));
        }
    }

    fn turn_page(&mut self, by: isize) {
        let count = self.visible().len().max(1);
        self.select((self.place.unwrap_or(0) as isize + by).rem_euclid(count as isize) as usize);
        self.scroll = 0;
    }

    fn select(&mut self, place: usize) {
        let ids: Vec<Id> = self.visible().iter().map(|row| row.id).collect();
        let place = place.min(ids.len().saturating_sub(1));
        self.place = Some(place);
        self.selected = ids.get(place).copied();
    }

    fn choose(&mut self, by: isize) {
        let count = SORTABLE.len() as isize;
        let now = SORTABLE.iter().position(|column| *column == self.sort).unwrap_or(0) as isize;
        self.sort = SORTABLE[(now + by).rem_euclid(count) as usize];
    }

    /// Forgets histories and events.
    fn forget(&mut self) {
        for row in self.rows.values_mut() {
            row.cpu.clear();
            row.gaps.clear();
            row.events.clear();
        }
        self.rows.retain(|_, row| row.gone_at_ns.is_none());
    }

    /// A letter of the filter.
    pub fn type_letter(&mut self, letter: char) {
        if !letter.is_control() {
            self.filter.push(letter);
        }
        self.hold_selection();
    }

    /// Takes the last letter of the filter back.
    pub fn erase(&mut self) {
        self.filter.pop();
        self.hold_selection();
    }

    /// Ends the typing; what was there before comes back unless the new one is kept.
    pub fn end_typing(&mut self, keep: bool) {
        if let Some(before) = self.typing.take()
            && !keep
        {
            self.filter = before;
        }
        self.hold_selection();
    }
}

impl Row {
    fn new(process: &LiveProcess) -> Self {
        Self {
            id: (process.pid, process.start_time_ticks),
            role: process.role,
            live: process.clone(),
            judged: None,
            cpu: VecDeque::new(),
            gaps: VecDeque::new(),
            events: VecDeque::new(),
            gone_at_ns: None,
        }
    }

    fn tell(&mut self, event: Event) {
        keep(&mut self.events, event, EVENTS);
    }

    /// What the filter looks at.
    #[must_use]
    pub fn line(&self) -> String {
        let texts = super::columns::ALL.iter().map(|column| column.text(self));
        let culprit = self.judged.as_ref().map_or("", |p| p.verdict.summary.as_str());
        format!("{} {} {culprit}", word(&self.role), texts.collect::<Vec<_>>().join(" "))
    }
}

fn keep<T>(history: &mut VecDeque<T>, value: T, most: usize) {
    history.push_back(value);
    while history.len() > most {
        history.pop_front();
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
