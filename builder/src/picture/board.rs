//! What a picture is drawn with: boxes with two lines of text, lines between them, and a colour for each fate.

use svg::Document;
use svg::Node;
use svg::node::element::{Group, Path, Rectangle, Text, Title};

/// Pixels around everything.
pub const MARGIN: f64 = 24.0;
/// How wide a character of the small font is, at most: texts are cut by it.
const LETTER: f64 = 6.4;

/// What becomes of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Keep,
    Grow,
    Create,
    Change,
    Wait,
    Refuse,
    Erase,
}

impl Fate {
    pub const ALL: [Fate; 7] =
        [Fate::Keep, Fate::Grow, Fate::Create, Fate::Change, Fate::Wait, Fate::Refuse, Fate::Erase];

    pub fn word(self) -> &'static str {
        match self {
            Fate::Keep => "keep",
            Fate::Grow => "grow",
            Fate::Create => "create",
            Fate::Change => "to do",
            Fate::Wait => "waits",
            Fate::Refuse => "REFUSED",
            Fate::Erase => "ERASE",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Fate::Keep => "#e8edf3",
            Fate::Grow => "#cfe3ff",
            Fate::Create => "#bfe8ca",
            Fate::Change => "#c9ecf0",
            Fate::Wait => "#fdeebd",
            Fate::Refuse => "#ffd9c2",
            Fate::Erase => "#ff9f9a",
        }
    }
}

/// A place on the board, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

pub struct Board {
    drawn: Group,
    width: f64,
    height: f64,
}

impl Board {
    pub fn new() -> Self {
        Board { drawn: Group::new(), width: 0.0, height: 0.0 }
    }

    /// Makes room up to there.
    pub fn reach(&mut self, x: f64, y: f64) {
        self.width = self.width.max(x);
        self.height = self.height.max(y);
    }

    fn add(&mut self, node: impl Into<Box<dyn Node>>) {
        self.drawn.append(node);
    }

    fn write(&mut self, x: f64, y: f64, size: u32, weight: &str, text: &str) {
        let text = Text::new(text).set("x", x).set("y", y).set("font-size", size).set("font-weight", weight);
        self.add(text.set("fill", "#1f2933"));
    }

    pub fn heading(&mut self, text: &str, y: f64) {
        self.write(MARGIN, y, 16, "bold", text);
        self.reach(MARGIN + text.chars().count() as f64 * 1.6 * LETTER, y);
    }

    pub fn line(&mut self, text: &str, x: f64, y: f64) {
        self.write(x, y, 12, "normal", text);
        self.reach(x + text.chars().count() as f64 * LETTER, y);
    }

    /// A box with a name and a line below it; both are cut to its width, and shown whole where the pointer is.
    pub fn area(&mut self, area: Area, fate: Fate, name: &str, detail: &str) {
        let whole = format!("{name}\n{detail}\n{}", fate.word());
        let rectangle = Rectangle::new()
            .set("x", area.x)
            .set("y", area.y)
            .set("width", area.width)
            .set("height", area.height)
            .set("rx", 3)
            .set("fill", fate.colour())
            .set("stroke", "#52606d");
        self.add(rectangle.add(Title::new(whole)));
        let room = ((area.width - 10.0) / LETTER).max(0.0) as usize;
        self.write(area.x + 6.0, area.y + 14.0, 12, "bold", &cut(name, room));
        self.write(area.x + 6.0, area.y + 28.0, 11, "normal", &cut(detail, room));
        self.reach(area.x + area.width + MARGIN, area.y + area.height);
    }

    /// From the right edge of one box to the left edge of another.
    pub fn arrow(&mut self, from: Area, to: Area) {
        let (x1, y1) = (from.x + from.width, from.y + from.height / 2.0);
        let (x2, y2) = (to.x, to.y + to.height / 2.0);
        let half = (x1 + x2) / 2.0;
        let path = format!("M{x1:.1},{y1:.1} C{half:.1},{y1:.1} {half:.1},{y2:.1} {x2:.1},{y2:.1}");
        self.add(Path::new().set("d", path).set("fill", "none").set("stroke", "#7b8794"));
    }

    pub fn swatch(&mut self, x: f64, y: f64, fate: Fate) {
        let square = Rectangle::new().set("x", x).set("y", y).set("width", 14).set("height", 14);
        self.add(square.set("fill", fate.colour()).set("stroke", "#52606d"));
        self.write(x + 20.0, y + 11.0, 12, "normal", fate.word());
    }

    pub fn finish(self, title: &str) -> String {
        let (width, height) = ((self.width + MARGIN).ceil(), (self.height + MARGIN).ceil());
        let ground = Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "#ffffff");
        let document = Document::new()
            .set("viewBox", (0.0, 0.0, width, height))
            .set("width", width)
            .set("height", height)
            .set("font-family", "sans-serif")
            .add(Title::new(title))
            .add(ground)
            .add(self.drawn);
        format!("{document}\n")
    }
}

fn cut(text: &str, room: usize) -> String {
    match text.chars().count() <= room {
        true => text.to_owned(),
        false => text.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
    }
}
