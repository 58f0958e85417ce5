//! CSV as the operator writes it (RFC 4180, UTF-8, a header line), read by the names of columns. A cell ends on its line.

use std::borrow::Cow;

use super::ThingsError;

/// One line behind the header, with the cells of the columns that were asked for.
#[derive(Debug)]
pub(super) struct Line<'a, const COLUMNS: usize> {
    file: &'a str,
    number: usize,
    names: [&'a str; COLUMNS],
    pub(super) cells: [Cow<'a, str>; COLUMNS],
}

impl<const COLUMNS: usize> Line<'_, COLUMNS> {
    /// What is wrong with the cell of a column.
    pub(super) fn bad(&self, column: usize, sentence: impl Into<String>) -> ThingsError {
        bad(self.file, self.number, self.names[column], sentence)
    }
}

fn bad(file: &str, line: usize, column: &str, sentence: impl Into<String>) -> ThingsError {
    ThingsError::Line { file: file.to_owned(), line, column: column.to_owned(), sentence: sentence.into() }
}

/// Hands over each line that is not empty. The header may have the columns in any order, and others beside them.
pub(super) fn read<const COLUMNS: usize>(
    file: &str,
    text: &str,
    names: [&str; COLUMNS],
    mut each: impl FnMut(&Line<'_, COLUMNS>) -> Result<(), ThingsError>,
) -> Result<(), ThingsError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate();
    let header = lines.next().map_or("", |(_, line)| line);
    let header = cells(header).map_err(|sentence| bad(file, 1, "header", sentence))?;
    let mut places = [0; COLUMNS];
    for (place, name) in places.iter_mut().zip(names) {
        let mut found = header.iter().enumerate().filter(|(_, cell)| cell.trim() == name);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => *place = at,
            (None, _) => {
                return Err(bad(
                    file,
                    1,
                    name,
                    format!("the header has no such column; it needs {}", names.join(",")),
                ));
            }
            (Some(_), Some(_)) => return Err(bad(file, 1, name, "the header has this column twice")),
        }
    }
    for (index, line) in lines {
        if line.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        let mut cells = cells(line).map_err(|sentence| bad(file, number, names[0], sentence))?;
        if cells.len() != header.len() {
            let sentence = format!("the line has {} cells, the header has {}", cells.len(), header.len());
            return Err(bad(file, number, names[0], sentence));
        }
        let cells = places.map(|at| std::mem::take(&mut cells[at]));
        each(&Line { file, number, names, cells })?;
    }
    Ok(())
}

/// The cells of one line.
fn cells(line: &str) -> Result<Vec<Cow<'_, str>>, &'static str> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (cell, tail) = rest.split_once(',').map_or((rest, None), |(cell, tail)| (cell, Some(tail)));
            if cell.contains('"') {
                return Err("a quote stands inside a cell that is not quoted");
            }
            cells.push(Cow::Borrowed(cell));
            match tail {
                Some(tail) => rest = tail,
                None => return Ok(cells),
            }
            continue;
        };
        let mut cell = String::new();
        let mut tail = quoted;
        loop {
            let (part, behind) = tail.split_once('"').ok_or("a quote is not closed on its line")?;
            cell.push_str(part);
            match behind.strip_prefix('"') {
                Some(behind) => {
                    cell.push('"');
                    tail = behind;
                }
                None => {
                    tail = behind;
                    break;
                }
            }
        }
        cells.push(Cow::Owned(cell));
        match tail.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if tail.is_empty() => return Ok(cells),
            None => return Err("a comma or the end of the line must follow a closing quote"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Vec<[String; 2]>, String> {
        let mut rows = Vec::new();
        read("t.csv", text, ["b", "a"], |line| {
            rows.push([line.cells[0].to_string(), line.cells[1].to_string()]);
            Ok(())
        })
        .map(|()| rows)
        .map_err(|error| error.to_string())
    }

    #[test]
    fn a2_5_columns_are_found_by_name_and_cells_may_be_quoted() {
        let text = "\u{feff}a,x,b\r\n1,2,3\r\n\r\n\"a \"\"b\"\", c\",,\n,,\"\"";
        let rows = table(text).unwrap();
        assert_eq!(rows, [["3", "1"], ["", "a \"b\", c"], ["", ""]].map(|row| row.map(str::to_owned)));
        assert_eq!(table("a,b\n").unwrap().len(), 0);
    }

    #[test]
    fn a2_5_a_bad_line_is_told_with_file_line_and_column() {
        for (text, sentence) in [
            ("", "t.csv:1: b: the header has no such column; it needs b,a"),
            ("a\n", "t.csv:1: b: the header has no such column; it needs b,a"),
            ("a,b,a\n", "t.csv:1: a: the header has this column twice"),
            ("a,b\n1,2\n1\n", "t.csv:3: b: the line has 1 cells, the header has 2"),
            ("a,b\n1,\"2\n", "t.csv:2: b: a quote is not closed on its line"),
            ("a,b\n1,\"2\"3\n", "t.csv:2: b: a comma or the end of the line must follow a closing quote"),
            ("a,b\n1,2\"3\n", "t.csv:2: b: a quote stands inside a cell that is not quoted"),
        ] {
            assert_eq!(table(text), Err(sentence.to_owned()), "{text:?}");
        }
    }
}
