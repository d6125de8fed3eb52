//! The tree as written, in an arena: a node stands after all nodes it is made of.

/// Position of a node in its [`Ast`].
pub(super) type AstIx = usize;

/// One expression as read, names not looked up yet.
#[derive(Debug, Default)]
pub(super) struct Ast<'a> {
    pub nodes: Vec<AstNode<'a>>,
}

#[derive(Debug)]
pub(super) struct AstNode<'a> {
    pub kind: AstKind<'a>,
    /// Where it starts in the text; for an operator, where the operator stands.
    pub column: usize,
    /// Nodes on the longest way down.
    pub depth: usize,
}

#[derive(Debug)]
pub(super) enum AstKind<'a> {
    Number(f64),
    Bool(bool),
    Name(&'a str),
    /// In quotes.
    Text(&'a str),
    Negate(AstIx),
    Not(AstIx),
    Arithmetic(ArithmeticOp, AstIx, AstIx),
    Logic(LogicOp, AstIx, AstIx),
    /// `operands[i] ops[i] operands[i + 1]`, all of which must hold.
    Compare {
        ops: Vec<CompareOp>,
        operands: Vec<AstIx>,
    },
    Call {
        function: &'a str,
        positional: Vec<AstIx>,
        keyword: Vec<(&'a str, usize, AstIx)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ArithmeticOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LogicOp {
    And,
    Or,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum CompareOp {
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
}

impl ArithmeticOp {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
        }
    }
}

impl LogicOp {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Or => "or",
        }
    }
}

impl CompareOp {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Eq => "==",
            Self::Ne => "!=",
        }
    }

    pub fn of_symbol(symbol: &str) -> Option<Self> {
        [Self::Lt, Self::Le, Self::Gt, Self::Ge, Self::Eq, Self::Ne]
            .into_iter()
            .find(|op| op.symbol() == symbol)
    }
}
