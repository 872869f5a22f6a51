use super::*;
use crate::testing::{
    Chance, ME, PIECES, at, damaged, in_any_order, json, mutate, outcome, packed, reading, residue, sourced,
    well_formed, xml,
};
use expect_test::{expect, expect_file};
use lamplighter_model::package::Package as _;

const WHOLE: &str = include_str!("../testdata/publication_watchers.xml");

fn package() -> Package {
    Package::of_presence()
}

fn body(state: &str, watchers: &str) -> String {
    format!(
        "<watcherinfo xmlns='{NAMESPACE}' version='0' state='{state}'><watcher-list resource='{ME}' \
         package='presence'>{watchers}</watcher-list></watcherinfo>"
    )
}

fn watcher(id: &str, status: &str, event: &str) -> String {
    format!("<watcher id='{id}' status='{status}' event='{event}'>sip:{id}@example.net</watcher>")
}

fn read_at(seconds: u64, watchers: &str) -> Watchers {
    package().read(0, body("full", watchers).as_bytes(), reading(seconds)).unwrap()
}

fn partial_at(seconds: u64, watchers: &str) -> Watchers {
    let reading = Reading { modifies: true, ..reading(seconds) };
    package().read(0, body("partial", watchers).as_bytes(), reading).unwrap()
}

fn brief(state: &State) -> String {
    let one = |watcher: &Arc<Watcher>| format!("{}={}", watcher.id, watcher.status.name());
    state.all.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// PU-14: the list of the address and the package, of a document with several, whole and hidden.
#[test]
fn whole_documents() {
    let fact = package().read(0, WHOLE.as_bytes(), reading(1000)).unwrap();
    let state = package().compose(at(1000), ME, &[sourced("a", 0, &fact)]).state;
    let document = |seen| xml(&package(), &state, seen, &Profile::default());
    expect_file!["../testdata/shown_watchers.xml"].assert_eq(&document(View::Full));
    expect_file!["../testdata/shown_watchers_masked.xml"].assert_eq(&document(View::Masked));
    expect_file!["../testdata/feed_watchers.json"].assert_eq(&(json(&package(), &state, View::Full) + "\n"));
    assert_eq!(json(&package(), &state, View::Busy), r#"{"package":"presence","n":1,"pending":1,"waiting":0}"#);
    assert_eq!(package().describe(&state), "1 watchers, 1 to be decided");
    // What is written reads the same.
    let again = package().read(0, document(View::Full).as_bytes(), reading(1000)).unwrap();
    assert_eq!(again, fact);
    let dialogs = Package::of_dialogs();
    let fact = dialogs.read(0, WHOLE.as_bytes(), reading(0)).unwrap();
    assert_eq!(brief(&dialogs.compose(at(0), ME, &[sourced("a", 0, &fact)]).state), "d=active");
}

/// PU-14: partial documents are merged watcher by watcher (RFC 3858 section 4.2); full ones drop whom they do not name.
#[test]
fn partial_documents_are_merged() {
    let first = read_at(0, &(watcher("1", "active", "approved") + &watcher("2", "pending", "subscribe")));
    let state = |fact: &Watchers| package().compose(at(9), ME, &[sourced("a", 0, fact)]).state;
    let approved = package().merge(&first, partial_at(5, &watcher("2", "active", "approved")));
    assert_eq!(brief(&state(&approved)), "1=active 2=active");
    assert_eq!(approved.all[1].since, at(0), "it has been there for longer");
    assert!(package().is_change(&state(&first), &state(&approved)));
    assert!(!package().is_change(&state(&approved), &state(&package().merge(&approved, approved.clone()))));
    let left = package().merge(&approved, partial_at(6, &watcher("1", "terminated", "timeout")));
    assert_eq!(brief(&state(&left)), "2=active");
    let all = package().merge(&left, read_at(7, &watcher("3", "waiting", "giveup")));
    assert_eq!(brief(&state(&all)), "3=waiting");
    // A partial document of which nothing is known before is all that is known.
    let partial = package().read(0, body("partial", &watcher("4", "active", "approved")).as_bytes(), reading(0));
    assert_eq!(brief(&state(&partial.unwrap())), "4=active");
}

/// QS-16: what two servers say adds up, in whatever order it came; what has ended counts no more.
#[test]
fn several_sources_add_up() {
    let one = read_at(0, &watcher("1", "active", "approved"));
    let two = read_at(1, &(watcher("1", "active", "approved") + &watcher("2", "pending", "subscribe")));
    let sources = [sourced("a", 0, &one), sourced("b", 1, &two), residue("c", 2, &two)];
    let state = in_any_order(&package(), at(2), &sources).state;
    assert_eq!(state.all.len(), 3);
    let ids: std::collections::BTreeSet<_> = state.all.iter().map(|watcher| &watcher.id).collect();
    assert_eq!(ids.len(), 3, "ids are told apart");
}

#[test]
fn what_cannot_be_read() {
    let check = |body: &str, expected: expect_test::Expect| {
        expected.assert_eq(&outcome(package().read(0, body.as_bytes(), reading(0)).map(|fact| fact.all.len())));
    };
    check("<presence/>", expect!["error: byte 11: expected watcherinfo"]);
    check("<watcherinfo/>", expect!["0"]);
    check(
        &body("full", "<watcher id='1'>sip:a@b</watcher>"),
        expect!["error: byte 162: expected the status pending, active, waiting or terminated"],
    );
    check(&body("full", "<watcher status='active'> </watcher>"), expect!["error: byte 182: a watcher has no URI"]);
    let many: String = (0..=WATCHERS).map(|id| watcher(&id.to_string(), "active", "approved")).collect();
    assert_eq!(package().read(0, body("full", &many).as_bytes(), reading(0)).unwrap_err().problem, "too many watchers");
    let fact = read_at(0, &many[..many.rfind("<watcher ").unwrap()]);
    let more = package().merge(&fact, partial_at(1, &watcher("new", "active", "approved")));
    assert_eq!((more.all.len(), &*more.all[WATCHERS - 1].id), (WATCHERS, "new"));
}

/// HA-02
#[test]
fn packed_watchers_read_the_same() {
    let package = package();
    damaged(&package, &packed(&package, &package.read(0, WHOLE.as_bytes(), reading(0)).unwrap()));
    packed(&package, &partial_at(0, &watcher("1", "terminated", "noresource")));
}

#[test]
fn mutated_documents_are_read_or_refused() {
    let (package, mut chance, mut read) = (package(), Chance(7), 0);
    let mut known = read_at(0, &watcher("1", "active", "approved"));
    for round in 0..4_000 {
        let body = mutate(&mut chance, WHOLE.as_bytes(), &PIECES);
        let reading = Reading { modifies: round % 2 == 0, ..reading(round) };
        let Ok(fact) = package.read(0, &body, reading) else { continue };
        read += 1;
        known = package.merge(&known, fact);
        let state = package.compose(at(round), ME, &[sourced("a", 0, &known)]).state;
        for seen in [View::Full, View::Masked, View::Busy] {
            well_formed(&xml(&package, &state, seen, &Profile::default()));
            json(&package, &state, seen);
        }
    }
    assert!(read > 100, "only {read} were readable");
}
