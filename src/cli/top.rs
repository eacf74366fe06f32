//! What can be typed behind `top`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};

use super::{ColorArg, LevelArg, TargetArgs, parse_pid};
use crate::duration;

/// Options of `top`.
#[derive(Debug, Clone, Args)]
pub struct TopArgs {
    /// Which server to look at.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Look at this process of the server only
    #[arg(long, value_name = "PID", value_parser = parse_pid)]
    pub only: Option<i32>,
    /// Samples per second
    #[arg(short, long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(10..=1000))]
    pub rate: u32,
    /// Time that each verdict is about
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration::parse)]
    pub window: Duration,
    /// Pictures per second, at most
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=30))]
    pub fps: u32,
    /// The most that is done to the target; neither level stops it
    #[arg(long, value_enum, default_value_t = LevelArg::Memory)]
    pub level: LevelArg,
    /// When to colour (`NO_COLOR` is respected)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    pub color: ColorArg,
    /// Use ASCII only
    #[arg(long)]
    pub ascii: bool,
    /// Show passwords and keys in command lines
    #[arg(long)]
    pub show_values: bool,
    /// Write one picture of the view (SVG) instead of showing it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pid", "port", "name"])]
    pub picture: Option<PathBuf>,
    /// Size of that picture in columns and lines
    #[arg(long, value_name = "WxH", default_value = "100x28", value_parser = parse_size)]
    pub size: (u16, u16),
}

/// Columns and lines: `100x28`.
fn parse_size(text: &str) -> Result<(u16, u16), String> {
    let size = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    size.filter(|(w, h)| (1..=500).contains(w) && (1..=200).contains(h))
        .ok_or_else(|| "not a size such as 100x28, at most 500x200".into())
}
