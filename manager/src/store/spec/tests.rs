//! What a spec holds, what it knows, and for whom that is too much.

use proptest::prelude::*;

use super::*;

fn spec() -> FeatureSpec {
    FeatureSpec::new("rsi", 1).entity("IBM").range(10..21)
}

fn close(text: &str) -> Input {
    Input::column("Close", Fingerprint::of(text))
}

#[test]
fn entities_are_a_set_however_they_are_given() {
    let one = spec().entities(["MSFT", "AAPL"]);
    let other = spec().entity("AAPL").entity("MSFT").entity("IBM").entity("AAPL");
    assert_eq!(one, other);
    assert_eq!(one.get_entities().collect::<Vec<_>>(), ["AAPL", "IBM", "MSFT"]);
}

#[test]
fn inputs_are_a_set_by_column_and_the_last_one_stays() {
    let open = Input::column("Open", Fingerprint::of("o"));
    let one = spec().input(close("1")).input(open.clone()).input(close("2").known_through(9));
    assert_eq!(one, spec().input(open.clone()).input(close("2").known_through(9)));
    assert_eq!(one.get_inputs(), [close("2").known_through(9), open]);
}

#[test]
fn everything_that_is_set_can_be_read() {
    let (code, calendar) = (Fingerprint::of("code"), Fingerprint::of("days"));
    let params = Params::try_from("{\"days\":14}").unwrap();
    let formerly = Key::from_bytes([7; 16]);
    let spec = spec()
        .params(params.clone())
        .code(code)
        .calendar(calendar)
        .lookahead(3)
        .fit(5..15)
        .input(close("1").known_through(30))
        .formerly(formerly);
    assert_eq!((spec.name(), spec.version(), spec.get_params()), ("rsi", 1, &params));
    assert_eq!((spec.get_code(), spec.get_calendar()), (Some(code), Some(calendar)));
    assert_eq!((spec.get_range(), spec.get_lookahead()), (10..21, 3));
    assert_eq!((spec.get_fit(), spec.fit_end()), (Some(5..15), Some(15)));
    assert_eq!(spec.get_formerly(), Some(formerly));
    let input = &spec.get_inputs()[0];
    assert_eq!((input.name(), input.fingerprint()), ("Close", Fingerprint::of("1")));
    assert_eq!(input.get_known_through(), 30);
}

#[test]
fn nothing_is_set_at_first() {
    let spec = FeatureSpec::new("rsi", 1);
    assert_eq!((spec.get_params(), spec.get_code()), (&Params::none(), None));
    assert_eq!((spec.get_entities().len(), spec.get_range()), (0, 0..0));
    assert_eq!((spec.get_calendar(), spec.get_lookahead(), spec.get_fit()), (None, 0, None));
    assert_eq!((spec.get_inputs(), spec.get_formerly()), (&[][..], None));
    assert_eq!((spec.known_through(), spec.allow(0)), (0, Ok(())));
}

#[test]
fn what_reaches_furthest_is_the_cause() {
    for (spec, known_through, cause) in [
        (spec(), 21, LeakCause::Range),
        (spec().lookahead(4), 25, LeakCause::Lookahead),
        (spec().fit(0..40).lookahead(4), 40, LeakCause::Fit),
        (
            spec().fit(0..40).input(close("1").known_through(50)),
            50,
            LeakCause::Input("Close".into()),
        ),
        (spec().fit(0..60).input(close("1").known_through(50)), 60, LeakCause::Fit),
    ] {
        assert_eq!(spec.allow(known_through), Ok(()));
        let leak = spec.allow(known_through - 1).unwrap_err();
        assert_eq!((leak.known_through, leak.as_of), (known_through, known_through - 1));
        assert_eq!((leak.feature.as_str(), leak.cause), ("rsi", cause));
    }
}

#[test]
fn of_several_that_reach_as_far_the_first_of_the_list_is_the_cause() {
    let all = spec().fit(0..21).input(close("1").known_through(21));
    assert_eq!(all.allow(20).unwrap_err().cause, LeakCause::Range);
    let all = spec().lookahead(4).fit(0..25).input(close("1").known_through(25));
    assert_eq!(all.allow(20).unwrap_err().cause, LeakCause::Lookahead);
    let all = spec().fit(0..25).input(close("1").known_through(25));
    assert_eq!(all.allow(20).unwrap_err().cause, LeakCause::Input("Close".into()));
}

#[test]
fn a_leak_says_what_to_do() {
    let texts = [
        spec(),
        spec().lookahead(4),
        spec().fit(0..40),
        spec().input(close("1").known_through(50)),
    ]
    .map(|spec| spec.allow(20).unwrap_err().to_string());
    assert_eq!(
        texts,
        [
            "use `rsi` as of position 20: the positions that it covers reach up to position 21; \
             ask for a range that ends at 20 or before",
            "use `rsi` as of position 20: its range and lookahead reach up to position 25; \
             a label is no feature, and to train on it purge the positions whose labels end after 20",
            "use `rsi` as of position 20: the positions that it was fitted on reach up to position 40; \
             fit it on positions before 20",
            "use `rsi` as of position 20: the facts folded into its input `Close` reach up to position 50; \
             read `Close` as it was known at 20",
        ]
    );
}

#[test]
fn a_lookahead_past_the_last_position_there_can_be_does_not_wrap() {
    let spec = spec().range(0..u32::MAX - 1).lookahead(9);
    assert_eq!(spec.known_through(), u32::MAX);
    assert_eq!(spec.allow(u32::MAX), Ok(()));
    assert_eq!(spec.allow(u32::MAX - 1).unwrap_err().cause, LeakCause::Lookahead);
}

proptest! {
    #[test]
    fn a_spec_is_allowed_exactly_to_those_who_know_all_of_it(
        end in 0..50_u32, lookahead in 0..9_u32, fit in prop::option::of(0..50_u32), input in 0..50_u32,
        as_of in 0..60_u32,
    ) {
        let mut spec = spec().range(0..end).lookahead(lookahead).input(close("1").known_through(input));
        if let Some(fit) = fit {
            spec = spec.fit(0..fit);
        }
        let ends = [end + lookahead, fit.unwrap_or(0), input];
        prop_assert_eq!(spec.known_through(), *ends.iter().max().unwrap());
        prop_assert_eq!(spec.allow(as_of).is_ok(), ends.iter().all(|end| *end <= as_of));
    }

    #[test]
    fn labels_of_a_training_range_are_allowed_where_its_evaluation_begins(
        horizon in 0..12_u32, embargo in 0..4_u32, expanding: bool,
    ) {
        let mode = if expanding { crate::WindowMode::Expanding } else { crate::WindowMode::Rolling };
        let shape = crate::WalkForward {
            positions: 100, train: 20, eval: 5, step: 5, label_horizon: horizon, embargo, mode, keep_tail: true,
        };
        for window in shape.windows().unwrap() {
            let label = spec().range(window.train).lookahead(horizon.saturating_sub(1));
            prop_assert_eq!(label.allow(window.eval.start), Ok(()));
        }
    }
}
