//! What phones write about themselves, and the voicemail system about mailboxes: the bodies of their PUBLISHes.

use super::day::{Day, Line, Party, Progress, Side};
use super::people::{Kind, OUTSIDERS, PEOPLE};
use bytes::Bytes;
use quick_xml::escape::escape;
use std::fmt::Write as _;

/// The office as far as documents need it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The domain of everybody's address.
    pub domain: Box<str>,
    /// Where each desk's phone is, `host:port`.
    pub phones: Vec<Box<str>>,
}

impl Place {
    /// The address of a desk.
    pub fn address(&self, desk: usize) -> String {
        format!("sip:{}@{}", PEOPLE[desk].extension, self.domain)
    }

    /// The address and the name of whoever takes part in a call.
    pub fn party(&self, party: Party) -> (String, &'static str) {
        match party {
            Party::Desk(desk) => (self.address(desk), PEOPLE[desk].name),
            Party::Outside(at) => (format!("sip:{}@carrier.example;user=phone", OUTSIDERS[at].0), OUTSIDERS[at].1),
            Party::Voicemail => (format!("sip:voicemail@{}", self.domain), "Voicemail"),
        }
    }

    fn target(&self, party: Party) -> String {
        match party {
            Party::Desk(desk) => format!("sip:{}@{}", PEOPLE[desk].extension, self.phones[desk]),
            other => self.party(other).0,
        }
    }

    /// What is true of a desk, as its phone (or the voicemail system) publishes it.
    pub fn document(&self, day: &Day, desk: usize, kind: Kind, version: u32) -> Bytes {
        match kind {
            Kind::Dialog => self.dialog_info(&day.lines_and_ended(desk), desk, version),
            Kind::Presence => self.presence(day, desk),
            Kind::Voicemail => self.summary(day, desk),
        }
        .into()
    }

    /// RFC 4235 section 4.
    fn dialog_info(&self, lines: &[Line], desk: usize, version: u32) -> String {
        let entity = self.address(desk);
        let mut xml = String::with_capacity(256 + 640 * lines.len());
        let _ = write!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" \
             version=\"{version}\" state=\"full\" entity=\"{entity}\">\r\n"
        );
        for line in lines {
            self.dialog(line, desk, &mut xml);
        }
        xml.push_str("</dialog-info>\r\n");
        xml
    }

    fn dialog(&self, line: &Line, desk: usize, xml: &mut String) {
        let &Line { call, side, progress, held, remote } = line;
        let (direction, ours, theirs) = match side {
            Side::Caller => ("initiator", 'a', 'b'),
            Side::Callee => ("recipient", 'b', 'a'),
        };
        let _ =
            write!(xml, "<dialog id=\"{call:x}-{ours}\" call-id=\"{call:08x}@office\" local-tag=\"{call:x}{ours}\"");
        if progress != Progress::Trying {
            let _ = write!(xml, " remote-tag=\"{call:x}{theirs}\"");
        }
        let state = match progress {
            Progress::Trying => "<state>trying</state>".to_owned(),
            Progress::Early => "<state>early</state>".to_owned(),
            Progress::Confirmed => "<state>confirmed</state>".to_owned(),
            Progress::Terminated(why) => format!("<state event=\"{why}\">terminated</state>"),
        };
        let _ = write!(xml, " direction=\"{direction}\">\r\n{state}\r\n");
        let rendering = if held { "<param pname=\"+sip.rendering\" pval=\"no\"/>" } else { "" };
        for (name, party, rendering) in [("local", Party::Desk(desk), rendering), ("remote", remote, "")] {
            let (address, display) = self.party(party);
            let display = if display.is_empty() { String::new() } else { format!(" display=\"{}\"", escape(display)) };
            let target = self.target(party);
            let _ = write!(
                xml,
                "<{name}><identity{display}>{address}</identity><target uri=\"{target}\">{rendering}</target></{name}>\r\n"
            );
        }
        xml.push_str("</dialog>\r\n");
    }

    /// RFC 3863, RFC 4479, RPID (RFC 4480) and a display name (CIPID, RFC 4482).
    fn presence(&self, day: &Day, desk: usize) -> String {
        let mood = day.desk(desk).mood;
        let (address, name) = self.party(Party::Desk(desk));
        let extension = PEOPLE[desk].extension;
        let basic = if mood.open { "open" } else { "closed" };
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
             xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
             xmlns:c=\"urn:ietf:params:xml:ns:pidf:cipid\" entity=\"{address}\">\r\n\
             <tuple id=\"desk{extension}\"><status><basic>{basic}</basic></status>\
             <c:display-name>{}</c:display-name><contact priority=\"0.8\">{address}</contact></tuple>\r\n\
             <dm:person id=\"person{extension}\">",
            escape(name)
        );
        if let Some(activity) = mood.activity {
            let _ = write!(xml, "<rpid:activities><rpid:{activity}/></rpid:activities>");
        }
        if !mood.note.is_empty() {
            let _ = write!(xml, "<dm:note xml:lang=\"en\">{}</dm:note>", escape(mood.note));
        }
        xml.push_str("</dm:person>\r\n</presence>\r\n");
        xml
    }

    /// RFC 3842 section 5.2.
    fn summary(&self, day: &Day, desk: usize) -> String {
        let (new, old) = day.desk(desk).mailbox;
        let waiting = if new > 0 { "yes" } else { "no" };
        let account = self.address(desk);
        format!("Messages-Waiting: {waiting}\r\nMessage-Account: {account}\r\nVoice-Message: {new}/{old} (0/0)\r\n")
    }
}
