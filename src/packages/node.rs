//! Reading the JSON of publishers within bounds, with the JSON pointer (RFC 6901) of whatever is wrong.
//!
//! Members that nobody asks for are passed over, `null` counts as absent, and of a member that is there twice the last
//! one counts.

use lamplighter_model::package::BadBody;
use lamplighter_model::time::Time;
use serde_json::Value;

/// The longest string, where nothing else is said: that of an XML attribute.
pub(crate) const TEXT: usize = crate::xml::VALUE;

/// The document as a tree, at most 128 deep.
pub(crate) fn document(json: &[u8]) -> Result<Value, BadBody> {
    let value: Value = serde_json::from_slice(json).map_err(|error| BadBody {
        place: format!("line {}, column {}", error.line(), error.column()),
        problem: "not JSON",
    })?;
    if !value.is_object() {
        return Err(BadBody { place: "document".into(), problem: "expected an object" });
    }
    Ok(value)
}

/// A value in a document, which knows where it is.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    value: &'a Value,
    place: Place<'a>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Root,
    Member(&'a Node<'a>, &'a str),
    Element(&'a Node<'a>, usize),
}

impl<'a> Node<'a> {
    pub(crate) const fn root(document: &'a Value) -> Self {
        Self { value: document, place: Place::Root }
    }

    /// What is wrong with this value.
    pub(crate) fn bad(&self, problem: &'static str) -> BadBody {
        let mut place = String::new();
        self.pointer(&mut place);
        if place.is_empty() {
            place.push_str("document");
        }
        BadBody { place, problem }
    }

    fn pointer(&self, out: &mut String) {
        match self.place {
            Place::Root => {}
            Place::Member(parent, name) => {
                parent.pointer(out);
                out.push('/');
                // RFC 6901 section 3.
                out.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
            Place::Element(parent, index) => {
                parent.pointer(out);
                out.push('/');
                out.push_str(&index.to_string());
            }
        }
    }

    /// A member of an object; `None` when it is absent, `null`, or this is no object.
    pub(crate) fn member<'b>(&'b self, name: &'b str) -> Option<Node<'b>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Node { value, place: Place::Member(self, name) })
    }

    /// A member of an object as `read` has it.
    pub(crate) fn get<'b, T>(
        &'b self,
        name: &'b str,
        read: impl FnOnce(Node<'b>) -> Result<T, BadBody>,
    ) -> Result<Option<T>, BadBody> {
        self.member(name).map(read).transpose()
    }

    pub(crate) fn expect_object(&self) -> Result<(), BadBody> {
        if self.value.is_object() { Ok(()) } else { Err(self.bad("expected an object")) }
    }

    /// All members of an object with their names.
    pub(crate) fn members<'b>(&'b self) -> Result<impl Iterator<Item = (&'b str, Node<'b>)>, BadBody> {
        let members = self.value.as_object().ok_or_else(|| self.bad("expected an object"))?;
        Ok(members.iter().map(|(name, value)| (&**name, Node { value, place: Place::Member(self, name) })))
    }

    /// All elements of an array.
    pub(crate) fn elements<'b>(&'b self) -> Result<impl Iterator<Item = Node<'b>>, BadBody> {
        let elements = self.value.as_array().ok_or_else(|| self.bad("expected an array"))?;
        let node = |(index, value)| Node { value, place: Place::Element(self, index) };
        Ok(elements.iter().enumerate().map(node))
    }

    /// The value itself, when it is a string.
    pub(crate) fn as_string(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// A string of at most `most` bytes.
    pub(crate) fn text(self, most: usize) -> Result<&'a str, BadBody> {
        let text = self.as_string().ok_or_else(|| self.bad("expected a string"))?;
        if text.len() > most { Err(self.bad("the string is too long")) } else { Ok(text) }
    }

    /// A string without white space around it; `None` when nothing is left.
    pub(crate) fn known(self) -> Result<Option<Box<str>>, BadBody> {
        let text = self.text(TEXT)?.trim();
        Ok((!text.is_empty()).then(|| text.into()))
    }

    /// The address of somebody.
    pub(crate) fn uri(self) -> Result<Box<str>, BadBody> {
        let uri = self
            .known()?
            .filter(|uri| uri.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty()));
        uri.ok_or_else(|| self.bad("expected a URI such as sip:+44123@example.com"))
    }

    pub(crate) fn flag(self) -> Result<bool, BadBody> {
        self.value.as_bool().ok_or_else(|| self.bad("expected true or false"))
    }

    /// A number from zero without a fraction.
    pub(crate) fn whole(self) -> Result<u64, BadBody> {
        self.value.as_u64().ok_or_else(|| self.bad("expected a whole number"))
    }

    /// A number from 0 to 1, in thousandths.
    pub(crate) fn thousandths(self) -> Result<u16, BadBody> {
        let number = self.value.as_f64().filter(|number| (0.0..=1.0).contains(number));
        number.map(|number| (number * 1000.0).round() as u16).ok_or_else(|| self.bad("expected a number from 0 to 1"))
    }

    /// A moment in milliseconds since 1970, but none that is still to come.
    pub(crate) fn time(self, now: Time) -> Result<Time, BadBody> {
        let millis = self.value.as_u64().ok_or_else(|| self.bad("expected milliseconds since 1970"))?;
        Ok(Time::from_micros(millis.saturating_mul(1000)).min(now))
    }

    /// The value as compact JSON.
    pub(crate) fn compact(&self) -> String {
        self.value.to_string()
    }

    /// One of several names.
    pub(crate) fn one_of<T: Copy>(self, names: &[(&str, T)], problem: &'static str) -> Result<T, BadBody> {
        let found = self.as_string().and_then(|text| names.iter().find(|(name, _)| *name == text));
        found.map(|(_, value)| *value).ok_or_else(|| self.bad(problem))
    }
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::{Node, document};
    use lamplighter_model::time::Time;

    #[test]
    fn places_are_json_pointers() {
        let value = document(br#"{"a":[{"b/c~d":1}],"e":null,"f":"x","g":"x"}"#).unwrap();
        let root = Node::root(&value);
        let a = root.member("a").unwrap();
        let first = a.elements().unwrap().next().unwrap();
        let (name, member) = first.members().unwrap().next().unwrap();
        assert_eq!((name, member.bad("p").place.as_str()), ("b/c~d", "/a/0/b~1c~0d"));
        assert_eq!(root.bad("p").to_string(), "document: p");
        assert!(root.member("e").is_none() && root.member("z").is_none() && member.member("z").is_none());
        assert_eq!(document(b"[]").unwrap_err().to_string(), "document: expected an object");
        assert_eq!(document(b"{\n\"a\":}").unwrap_err().to_string(), "line 2, column 5: not JSON");
        assert_eq!(document("[".repeat(1000).as_bytes()).unwrap_err().problem, "not JSON");
    }

    #[test]
    fn nothing_began_in_the_future() {
        let value = document(br#"{"a":18446744073709551615,"b":7,"c":-1,"d":1.5}"#).unwrap();
        let (root, now) = (Node::root(&value), Time::from_micros(1_000_000));
        let time = |name: &str| root.get(name, |node| node.time(now)).map(Option::unwrap);
        assert_eq!(time("a").unwrap(), now);
        assert_eq!(time("b").unwrap(), Time::from_micros(7000));
        assert!(time("c").is_err() && time("d").is_err());
    }
}
