//! Pictures of figures in docs/performance/.

use plotters::prelude::*;

use super::report::docs;

const SIZE: (u32, u32) = (860, 60);
const ROW: u32 = 34;

fn path(file: &str) -> std::path::PathBuf {
    let folder = docs("performance");
    std::fs::create_dir_all(&folder).expect("docs is writable");
    folder.join(file)
}

/// A bar chart with one bar for each name.
pub fn bars(file: &str, title: &str, figures: &[(&'static str, f64)]) {
    let path = path(file);
    let size = (SIZE.0, SIZE.1 + ROW * figures.len() as u32);
    let area = SVGBackend::new(&path, size).into_drawing_area();
    let longest = figures.iter().map(|(_, figure)| *figure).fold(0.0, f64::max);
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        area.draw(&Text::new(title, (10, 10), ("sans-serif", 20)))?;
        for (number, (name, figure)) in figures.iter().enumerate() {
            let top = 44 + (ROW * number as u32) as i32;
            let length = (figure / longest * 400.0) as i32;
            let colour =
                if name.starts_with("state-counts") { BLUE.to_rgba() } else { BLACK.mix(0.4) };
            let bar = [(380, top), (380 + length.max(1), top + 20)];
            area.draw(&Rectangle::new(bar, ShapeStyle::from(colour).filled()))?;
            area.draw(&Text::new(*name, (10, top + 3), ("sans-serif", 14)))?;
            let label = format!("{figure:.0}");
            area.draw(&Text::new(label, (390 + length, top + 3), ("sans-serif", 14)))?;
        }
        area.present()?;
        Ok(())
    };
    draw().expect("a picture is drawn");
}

/// A line chart with one line for each name and two logarithmic axes.
pub fn lines(file: &str, title: &str, lines: &[(&str, &Vec<(f64, f64)>)]) {
    let path = path(file);
    let area = SVGBackend::new(&path, (SIZE.0, 480)).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((1f64..20_000f64).log_scale(), (0.01f64..4_000f64).log_scale())?;
        chart.configure_mesh().x_desc("changed names").y_desc("µs").draw()?;
        for (number, (name, points)) in lines.iter().enumerate() {
            let colour = Palette99::pick(number).to_rgba();
            // Noise can make a difference negative, which has no logarithm.
            let points = points.iter().map(|(x, y)| (*x, y.max(0.01)));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        area.present()?;
        Ok(())
    };
    draw().expect("a picture is drawn");
}
