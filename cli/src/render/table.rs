//! Tables and pages of text.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};

/// Columns of the terminal on standard output.
pub(crate) fn terminal_width() -> Option<u16> {
    Table::new().width()
}

/// Text that may go to a terminal: without control characters, which firmware, agents and other people could have put in.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

/// A cell; nothing is shown as a hyphen.
pub(crate) fn cell(text: impl Into<Option<String>>) -> String {
    text.into().filter(|t| !t.is_empty()).map_or_else(|| "-".to_owned(), |t| clean(&t))
}

/// How far a column gives way when the terminal is narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Never: a name or an address that people copy.
    Whole,
    /// Breaks into lines.
    Wraps,
    /// As `Whole`, but left out, the rightmost first, when there is no room; `show` and JSON have it.
    Spare,
}

/// Columns of space between two columns.
const GAP: u16 = 2;
/// A column that wraps keeps so much, if it has so much.
const LEAST: u16 = 16;

/// A table without lines, fitted to `width` columns if that is given.
pub(crate) fn table(width: Option<u16>, columns: &[(&str, Fit)], rows: Vec<Vec<String>>) -> String {
    let needs = needs(columns, &rows);
    let kept = kept(width, columns, &needs);
    let keep = |row: Vec<String>| -> Vec<String> {
        row.into_iter().zip(&kept).filter(|(_, kept)| **kept).map(|(cell, _)| cell).collect()
    };
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(keep(columns.iter().map(|(title, _)| (*title).to_owned()).collect()));
    table.add_rows(rows.into_iter().map(keep));
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    let columns = columns.iter().zip(&needs).zip(&kept).filter(|(_, kept)| **kept);
    for (column, (((_, fit), need), _)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, GAP));
        column.set_constraint(match fit {
            Fit::Whole | Fit::Spare => ColumnConstraint::ContentWidth,
            Fit::Wraps => ColumnConstraint::LowerBoundary(Width::Fixed(*need)),
        });
    }
    table.trim_fmt()
}

/// The least width of each column, its gap included.
fn needs(columns: &[(&str, Fit)], rows: &[Vec<String>]) -> Vec<u16> {
    let need = |(column, (title, fit)): (usize, &(&str, Fit))| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        let whole = u16::try_from(cells.chain([title.len()]).max().unwrap_or(0)).unwrap_or(u16::MAX);
        GAP.saturating_add(if *fit == Fit::Wraps { whole.min(LEAST) } else { whole })
    };
    columns.iter().enumerate().map(need).collect()
}

/// Which columns there is room for.
fn kept(width: Option<u16>, columns: &[(&str, Fit)], needs: &[u16]) -> Vec<bool> {
    let mut kept = vec![true; columns.len()];
    let Some(width) = width else { return kept };
    let mut total: u32 = needs.iter().copied().map(u32::from).sum();
    for ((kept, need), (_, fit)) in kept.iter_mut().zip(needs).zip(columns).rev() {
        if total > u32::from(width) && *fit == Fit::Spare {
            *kept = false;
            total -= u32::from(*need);
        }
    }
    kept
}

/// Keys and values, one pair a line, then tables with titles.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pairs: Vec<(String, String)>,
    sections: Vec<String>,
}

impl Page {
    /// Adds a pair; an absent value is shown as a hyphen.
    pub(crate) fn pair(mut self, key: &str, value: impl Into<Option<String>>) -> Self {
        self.pairs.push((key.to_owned(), cell(value)));
        self
    }

    /// Adds a pair unless the value is absent or empty.
    pub(crate) fn pair_if(self, key: &str, value: Option<String>) -> Self {
        match value.filter(|v| !v.is_empty()) {
            Some(value) => self.pair(key, value),
            None => self,
        }
    }

    /// Adds a titled table.
    pub(crate) fn section(mut self, title: &str, table: &str) -> Self {
        self.sections.push(format!("\n{title}\n{}", indented(table)));
        self
    }

    /// The text.
    pub(crate) fn text(&self) -> String {
        let widest = self.pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        let pairs = self.pairs.iter().map(|(key, value)| format!("{:<1$}  {value}", format!("{key}:"), widest + 1));
        pairs.chain(self.sections.iter().cloned()).collect::<Vec<_>>().join("\n")
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|l| format!("  {l}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn sample(width: Option<u16>) -> String {
        let columns = [("NAME", Fit::Whole), ("MAC", Fit::Whole), ("REASON", Fit::Wraps)];
        let row = |n: &str, why: &str| vec![cell(n.to_owned()), "52:54:00:12:34:56".to_owned(), cell(why.to_owned())];
        table(width, &columns, vec![row("node-one", "waits for the agent to say hello"), row("n2", "")])
    }

    #[test]
    fn a_narrow_terminal_wraps_what_may_wrap() {
        expect![[r#"
            NAME      MAC                REASON
            node-one  52:54:00:12:34:56  waits for the
                                         agent to say
                                         hello
            n2        52:54:00:12:34:56  -"#]]
        .assert_eq(&sample(Some(46)));
    }

    #[test]
    fn spare_columns_give_way_from_the_right() {
        let columns = [("NAME", Fit::Whole), ("ARCH", Fit::Spare), ("MAC", Fit::Spare), ("REASON", Fit::Wraps)];
        let row = ["n1", "amd64", "52:54:00:12:34:56", "waits for it"].map(str::to_owned).to_vec();
        let titles = |width| table(width, &columns, vec![row.clone()]).lines().next().unwrap_or_default().to_owned();
        assert_eq!(titles(Some(46)).split_whitespace().collect::<Vec<_>>(), ["NAME", "ARCH", "MAC", "REASON"]);
        assert_eq!(titles(Some(45)).split_whitespace().collect::<Vec<_>>(), ["NAME", "ARCH", "REASON"]);
        assert_eq!(titles(Some(10)).split_whitespace().collect::<Vec<_>>(), ["NAME", "REASON"]);
    }

    #[test]
    fn a_file_gets_one_line_a_row() {
        expect![[r"
            NAME      MAC                REASON
            node-one  52:54:00:12:34:56  waits for the agent to say hello
            n2        52:54:00:12:34:56  -"]]
        .assert_eq(&sample(None));
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(clean("a\u{1b}[31mb\nc\u{7}\u{9b}"), "a[31mb c");
    }
}
