//! Alternating measurements, so that other load on the machine affects all contestants.

/// A measured operation. Each call repeats it and returns the cost of one repetition.
pub struct Contestant<'a> {
    name: &'static str,
    sample: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contestant<'a> {
    pub fn new(name: &'static str, sample: impl FnMut() -> f64 + 'a) -> Self {
        Contestant { name, sample: Box::new(sample) }
    }
}

/// One figure per contestant and round.
#[derive(Default)]
pub struct Samples(Vec<(&'static str, Vec<f64>)>);

impl Samples {
    /// Measures each contestant once per round, after a warm-up round for caches, branch
    /// predictors and lazy bindings.
    pub fn add_warm(&mut self, rounds: usize, contestants: &mut [Contestant]) {
        for contestant in contestants.iter_mut() {
            (contestant.sample)();
        }
        self.add(rounds, contestants);
    }

    /// Measures each contestant once per round. Each round begins with the next contestant.
    pub fn add(&mut self, rounds: usize, contestants: &mut [Contestant]) {
        for round in 0..rounds {
            for offset in 0..contestants.len() {
                let index = (round + offset) % contestants.len();
                let Contestant { name, sample } = &mut contestants[index];
                let figure = sample();
                match self.0.iter_mut().find(|(known, _)| known == name) {
                    Some((_, figures)) => figures.push(figure),
                    None => self.0.push((name, vec![figure])),
                }
            }
        }
    }

    /// Median difference of `left` and `right` in the same round.
    pub fn difference(&self, left: &str, right: &str) -> f64 {
        quantile(&self.paired(left, right, |left, right| left - right), 0.5)
    }

    /// Median ratio of `left` to `right` in the same round.
    pub fn ratio(&self, left: &str, right: &str) -> f64 {
        quantile(&self.paired(left, right, |left, right| left / right), 0.5)
    }

    /// Name and median of each contestant.
    pub fn medians(&self) -> Vec<(&'static str, f64)> {
        self.0.iter().map(|(name, figures)| (*name, quantile(figures, 0.5))).collect()
    }

    fn of(&self, name: &str) -> &[f64] {
        let found = self.0.iter().find(|(known, _)| *known == name);
        &found.unwrap_or_else(|| panic!("{name} was not measured")).1
    }

    fn paired(&self, left: &str, right: &str, of: fn(f64, f64) -> f64) -> Vec<f64> {
        let pairs = self.of(left).iter().zip(self.of(right));
        pairs.map(|(left, right)| of(*left, *right)).collect()
    }
}

/// Used by the measurements in a broker.
#[cfg_attr(not(have_flux), allow(dead_code))]
impl Samples {
    /// Figures that were measured in the same rounds as others.
    pub fn from_rounds(figures: Vec<(&'static str, Vec<f64>)>) -> Samples {
        Samples(figures)
    }

    /// Number of rounds.
    pub fn rounds(&self) -> usize {
        self.0.first().map_or(0, |(_, figures)| figures.len())
    }

    pub fn median(&self, name: &str) -> f64 {
        quantile(self.of(name), 0.5)
    }

    /// Lower quartile, median and upper quartile of the ratio.
    pub fn ratio_quartiles(&self, left: &str, right: &str) -> [f64; 3] {
        let ratios = self.paired(left, right, |left, right| left / right);
        [0.25, 0.5, 0.75].map(|at| quantile(&ratios, at))
    }

    /// Lower bound, median and upper bound of the ratio: the 95 % confidence interval of
    /// the median by order statistics, which assumes no distribution.
    pub fn ratio_interval(&self, left: &str, right: &str) -> [f64; 3] {
        let mut ratios = self.paired(left, right, |left, right| left / right);
        ratios.sort_by(f64::total_cmp);
        let n = ratios.len();
        // `below` is the probability that fewer than `index` ratios are below the median.
        let (mut index, mut chance, mut below) = (0, 0.5f64.powi(n as i32), 0.0);
        while below + chance <= 0.025 {
            below += chance;
            chance *= (n - index) as f64 / (index + 1) as f64;
            index += 1;
        }
        // With too few ratios for an interval, use all of them.
        let first = index.saturating_sub(1);
        [ratios[first], quantile(&ratios, 0.5), ratios[n - 1 - first]]
    }
}

/// The quantile at `part`, between 0 and 1, with linear interpolation.
fn quantile(figures: &[f64], part: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}
