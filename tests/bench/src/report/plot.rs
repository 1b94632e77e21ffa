//! The curves of what grows, as one picture.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Line;

const PANEL: (u32, u32) = (440, 300);
const COLUMNS: u32 = 2;
const COLOURS: [RGBColor; 3] = [
    RGBColor(31, 105, 180),
    RGBColor(200, 80, 30),
    RGBColor(90, 90, 90),
];

/// One panel: what of a figure, under which heading, over how many of what.
struct Panel {
    figure: &'static str,
    whats: &'static [&'static str],
    heading: &'static str,
    over: &'static str,
}

const PANELS: [Panel; 6] = [
    Panel {
        figure: "growth-sessions",
        whats: &["RSS of one", "kernel memory of one"],
        heading: "Memory of an idle session, bytes",
        over: "sessions held",
    },
    Panel {
        figure: "growth-sessions",
        whats: &["rate of others"],
        heading: "Transfers of others, held ÷ alone",
        over: "sessions held",
    },
    Panel {
        figure: "growth-pinholes",
        whats: &["opens"],
        heading: "Pinholes opened a second",
        over: "pinholes held",
    },
    Panel {
        figure: "growth-pinholes",
        whats: &["ack p50", "ack p99"],
        heading: "Time to a pinhole's ack, µs",
        over: "pinholes held",
    },
    Panel {
        figure: "growth-decisions",
        whats: &["one"],
        heading: "One decision, ns",
        over: "rules",
    },
    Panel {
        figure: "growth-start",
        whats: &["ready after", "reload"],
        heading: "Start and reload, ms",
        over: "rules",
    },
];

/// Draws what there is; `None` where nothing grew.
pub(super) fn growth(lines: &[Line]) -> anyhow::Result<Option<String>> {
    let drawn: Vec<(&Panel, Vec<Curve>)> = PANELS
        .iter()
        .map(|panel| (panel, curves(panel, lines)))
        .filter(|(_, curves)| !curves.is_empty())
        .collect();
    if drawn.is_empty() {
        return Ok(None);
    }
    let rows = u32::try_from(drawn.len())?.div_ceil(COLUMNS);
    let mut text = String::new();
    {
        let size = (PANEL.0 * COLUMNS, PANEL.1 * rows);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE)?;
        let areas = area.split_evenly((rows as usize, COLUMNS as usize));
        for (area, (panel, curves)) in areas.iter().zip(drawn) {
            draw(area, panel, &curves)?;
        }
        area.present()?;
    }
    Ok(Some(text))
}

/// One line of a panel.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

fn curves(panel: &Panel, lines: &[Line]) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for what in panel.whats {
        let of_what = lines
            .iter()
            .filter(|line| line.figure == panel.figure && line.what == *what);
        for line in of_what {
            let Some(at) = line.at else {
                continue;
            };
            let name = format!("{what}, {}", line.system);
            let point = (at as f64, line.median);
            match curves.iter_mut().find(|curve| curve.name == name) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve {
                    name,
                    points: vec![point],
                }),
            }
        }
    }
    for curve in &mut curves {
        curve.points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    curves
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    panel: &Panel,
    curves: &[Curve],
) -> anyhow::Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.0).fold(0.0, f64::max);
    let highest = points().map(|point| point.1).fold(0.0, f64::max) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .caption(panel.heading, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (least..most * 1.3).log_scale(),
            0.0..highest.max(f64::MIN_POSITIVE),
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(4)
        .x_desc(panel.over)
        .x_label_formatter(&|x| super::grouped(x.round() as u64))
        .y_label_formatter(&|y| super::short(*y))
        .label_style(("sans-serif", 11))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), style).point_size(3))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], style));
    }
    if curves.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .label_font(("sans-serif", 11))
            .draw()?;
    }
    Ok(())
}
