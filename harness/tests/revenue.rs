use segno::prelude::*;

fn revenue(shape: &Shape) -> Result<Pipeline, PipelineError> {
    Pipeline::named("revenue-per-minute")
        .source(shape.source("payments"), text::<i64>)
        .key_by_record()
        .tumbling(Millis(60_000), shape.allowed_lateness)
        .aggregate("revenue", Sum::of(|cents: &i64| *cents))
        .output(json_rows(|_window, sum: &i128| json!({ "cents": *sum as i64 })))
}

#[test]
fn revenue_replays_as_it_ran() {
    segno::gate(revenue)
        .events(|draw, _at| Event::new(*draw.pick(&["ada", "bob", "eve"]), draw.between(1, 900).to_string()))
        .expected(|paid| json!({ "cents": paid.iter().map(|one| one.text().parse::<i64>().unwrap()).sum::<i64>() }))
        .run();
}
