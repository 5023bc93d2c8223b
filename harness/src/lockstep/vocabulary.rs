//! Operations that checks understand as well as drivers do: lists that grow, and rows with a number.
//!
//! | operation | in SQL |
//! |---|---|
//! | `append KEY VALUE` | `UPDATE lists SET v = v \|\| ',VALUE' WHERE k = 'KEY'` |
//! | `read KEY` | `SELECT v FROM lists WHERE k = 'KEY'` |
//! | `put ID` | the scenario's statement with that number in it |
//!
//! # Scope of determinism
//!
//! Pure functions of the operation and the scenario. An operation that means nothing here is SQL and left alone.

use std::borrow::Cow;

/// How a scenario's operations are said in SQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// The table of lists, with the columns `k` and `v`, if there is one.
    pub lists: Option<String>,
    /// The statement that puts a row, with [`ID`] in the place of its number, if there is one.
    pub put: Option<String>,
}

/// The place of a row's number in the statement that puts it.
pub const ID: &str = "{id}";

/// An operation on lists or rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// Adds a value to the end of a list.
    Append(&'a str, u64),
    /// Reads a whole list.
    Read(&'a str),
    /// Adds a row.
    Put(u64),
}

impl<'a> Word<'a> {
    /// What the text asks for, if it is one of these.
    pub fn of(op: &'a str) -> Option<Self> {
        let mut parts = op.split(' ');
        let (verb, first, second) = (parts.next()?, parts.next()?, parts.next());
        let number = |text: &str| text.parse().ok();
        let word = match (verb, second) {
            ("append", Some(value)) => Self::Append(key(first)?, number(value)?),
            ("read", None) => Self::Read(key(first)?),
            ("put", None) => Self::Put(number(first)?),
            _ => return None,
        };
        parts.next().is_none().then_some(word)
    }
}

/// What can stand between quotes as it is.
pub(super) fn key(text: &str) -> Option<&str> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    (!text.is_empty() && text.chars().all(plain)).then_some(text)
}

impl Vocabulary {
    /// The operation as drivers carry it out: SQL in the place of words that the scenario gives a meaning to.
    pub fn sql<'a>(&self, op: &'a str) -> Cow<'a, str> {
        let said = match (Word::of(op), &self.lists, &self.put) {
            (Some(Word::Append(key, value)), Some(table), _) => {
                format!("UPDATE {table} SET v = v || ',{value}' WHERE k = '{key}'")
            }
            (Some(Word::Read(key)), Some(table), _) => {
                format!("SELECT v FROM {table} WHERE k = '{key}'")
            }
            (Some(Word::Put(id)), _, Some(put)) => put.replace(ID, &id.to_string()),
            _ => return Cow::Borrowed(op),
        };
        Cow::Owned(said)
    }

    /// A query for all lists, if there are any.
    pub fn all_lists(&self) -> Option<String> {
        self.lists.as_ref().map(|table| format!("SELECT k, v FROM {table} ORDER BY k"))
    }
}

/// The values of a list as it stands in its table; none if it is something else.
pub fn values(list: &str) -> Option<Vec<u64>> {
    let mut parts = list.split(',');
    // A list is empty text, and each value comes with a comma before it.
    parts.next().filter(|first| first.is_empty())?;
    parts.map(|value| value.parse().ok()).collect()
}

/// The text of a list with these values.
pub fn list(values: &[u64]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!(",{value}")).collect();
    values.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_said_in_sql_and_sql_is_left_alone() {
        let vocabulary = Vocabulary {
            lists: Some("lists".into()),
            put: Some("INSERT INTO t VALUES ({id}, 'row {id}')".into()),
        };
        for (op, sql) in [
            ("append x 7", "UPDATE lists SET v = v || ',7' WHERE k = 'x'"),
            ("read x", "SELECT v FROM lists WHERE k = 'x'"),
            ("put 7", "INSERT INTO t VALUES (7, 'row 7')"),
            ("begin write", "begin write"),
            ("SELECT 1", "SELECT 1"),
            ("append x'; 7", "append x'; 7"),
            ("append x 7 8", "append x 7 8"),
            ("append x seven", "append x seven"),
            ("read x y", "read x y"),
        ] {
            assert_eq!(vocabulary.sql(op), sql);
            assert_eq!(Vocabulary::default().sql(op), op, "without a meaning it stays as it is");
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_appended() {
        for appended in [vec![], vec![1, 20]] {
            assert_eq!(values(&list(&appended)), Some(appended));
        }
        assert_eq!(list(&[1, 20]), ",1,20");
        assert_eq!(values("1,20"), None);
        assert_eq!(values(",1,x"), None);
        assert_eq!(values("NULL"), None);
    }
}
