//! Kernels for linear layers.

use std::fmt::Write as _;
use std::rc::Rc;

use super::common::literal;
use super::kernel::Kernel;
use super::kernels::Kernels;
use super::source::Source;
use crate::array::Dtype;
use crate::array::fused::terms::activation::Activation;
use crate::error::Result;

/// The parameters of a kernel for linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearKey {
    pub dtype: Dtype,
    pub bits: i32,
    pub group: i32,
    /// Groups that a warp takes at a time.
    pub chunk: i32,
    pub warps: usize,
    /// Which parts have a bias.
    pub biases: [bool; MAX_PARTS],
    pub parts: usize,
    /// The norm's epsilon, in bits.
    pub norm: Option<u32>,
    pub epilogue: EpilogueKey,
}

/// Matrices of one operation.
pub const MAX_PARTS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EpilogueKey {
    Store,
    /// The scale, in bits.
    Add(u32),
    Gate(Activation),
}

thread_local! {
    static KERNELS: Kernels<LinearKey, Kernel> = Kernels::default();
}

impl LinearKey {
    /// The kernel; `None` where it does not compile.
    pub fn kernel(&self, compile: impl FnOnce(&Source) -> Result<Kernel>) -> Option<Rc<Kernel>> {
        KERNELS.with(|known| known.get(self, "products", || self.build(compile)))
    }

    /// The kernel's source: which matrices a block takes, and what it does with its sums.
    pub fn build(&self, compile: impl FnOnce(&Source) -> Result<Kernel>) -> Result<Kernel> {
        let coded = self.bits < 16;
        let mut inputs = vec![("T", "x".to_owned())];
        for i in 0..self.parts {
            inputs.push(("uint32_t", format!("w{i}")));
            if coded {
                inputs.extend([("T", format!("s{i}")), ("T", format!("b{i}"))]);
            }
            if self.biases[i] {
                inputs.push(("T", format!("c{i}")));
            }
        }
        let matrix = |i: usize| match coded {
            true => format!("{{w{i}, s{i}, b{i}, rows{i}}}"),
            false => format!("{{w{i}, nullptr, nullptr, rows{i}}}"),
        };
        let biased = |i: usize, sum: &str| match self.biases[i] {
            true => format!("({sum} + float(c{i}[feature]))"),
            false => sum.to_owned(),
        };
        let (mut choose, mut epilogue) = (String::new(), String::new());
        let mut tiles = 1;
        match self.epilogue {
            EpilogueKey::Gate(act) => {
                tiles = 2;
                let act = match act {
                    Activation::Silu => "silu",
                    Activation::Gelu => "gelu",
                    Activation::GeluTanh => "gelu_tanh",
                    Activation::Relu => "relu",
                    // No dense layer has it, and `plan` refuses it.
                    Activation::SwigluOai => "swiglu_oai",
                    Activation::ReluSquared => "relu_squared",
                };
                let _ = write!(choose, "mats[0] = {}; mats[1] = {};", matrix(0), matrix(1));
                let _ = write!(epilogue, "out0[at] = T({act}({}) * {});", biased(0, "total[0]"), biased(1, "total[1]"));
            }
            EpilogueKey::Add(scale) => {
                inputs.push(("T", "residual".into()));
                let (scale, sum) = (f32::from_bits(scale), biased(0, "total[0]"));
                let _ = write!(choose, "mats[0] = {};", matrix(0));
                let _ = write!(epilogue, "out0[at] = T(float(residual[at]) + {} * {sum});", literal(scale));
            }
            EpilogueKey::Store => {
                // Parts one after the other: each has whole tiles.
                choose += "int part = 0;";
                for i in 0..self.parts {
                    let more = i + 1 < self.parts;
                    let _ = write!(choose, "mats[0] = {};", matrix(i));
                    let _ = write!(epilogue, "if (part == {i}) out{i}[at] = T({});", biased(i, "total[0]"));
                    if more {
                        let _ = write!(
                            choose,
                            "if (tile >= (mats[0].rows + 15) / 16) {{ tile -= (mats[0].rows + 15) / 16; part = {};",
                            i + 1
                        );
                    }
                }
                choose += &"}".repeat(self.parts - 1);
            }
        }
        let results = if tiles == 2 { 1 } else { self.parts };
        let outputs: Vec<_> = (0..results).map(|i| ("T", format!("out{i}"))).collect();
        if self.norm.is_some() {
            inputs.push(("T", "norm".into()));
        }
        let scalars: Vec<String> =
            ["m".to_owned(), "k".to_owned()].into_iter().chain((0..self.parts).map(|i| format!("rows{i}"))).collect();
        let body = format!(
            "constexpr int BITS = {}, GROUP = {}, CHUNK = {}, TILES = {tiles}, WARPS = {};\nconstexpr bool NORM = {};\nconstexpr float EPS \
             = {};\n{}",
            self.bits,
            self.group,
            self.chunk,
            self.warps,
            self.norm.is_some(),
            literal(f32::from_bits(self.norm.unwrap_or(0))),
            include_str!("linear_body.cu")
                .replace("CHOOSE", &choose)
                .replace("EPILOGUE", &epilogue)
                .replace("NORM_WEIGHT", if self.norm.is_some() { "norm" } else { "static_cast<const T*>(nullptr)" }),
        );
        compile(&Source {
            name: "mlxe_linear",
            dtype: self.dtype,
            inputs: &inputs,
            outputs: &outputs,
            scalars: &scalars,
            header: include_str!("linear.cu"),
            body: &body,
        })
    }
}
