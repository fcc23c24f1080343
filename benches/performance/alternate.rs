//! Measuring in turn, so that what the machine does meanwhile hits all alike.

/// One way to do something. A call does it a number of times and returns what
/// one time took.
pub struct Contestant<'a> {
    name: &'static str,
    sample: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contestant<'a> {
    pub fn new(name: &'static str, sample: impl FnMut() -> f64 + 'a) -> Self {
        Contestant { name, sample: Box::new(sample) }
    }
}

/// What was measured: for each contestant, one figure a round.
#[derive(Default)]
pub struct Samples(Vec<(&'static str, Vec<f64>)>);

impl Samples {
    /// Measures each contestant once a round, after a round that does not count:
    /// caches, branch predictors and lazy bindings are warm then.
    pub fn add_warm(&mut self, rounds: usize, contestants: &mut [Contestant]) {
        for contestant in contestants.iter_mut() {
            (contestant.sample)();
        }
        self.add(rounds, contestants);
    }

    /// Measures each contestant once a round; another one begins each time.
    pub fn add(&mut self, rounds: usize, contestants: &mut [Contestant]) {
        for round in 0..rounds {
            for turn in 0..contestants.len() {
                let place = (round + turn) % contestants.len();
                let Contestant { name, sample } = &mut contestants[place];
                let figure = sample();
                match self.0.iter_mut().find(|(known, _)| known == name) {
                    Some((_, figures)) => figures.push(figure),
                    None => self.0.push((name, vec![figure])),
                }
            }
        }
    }

    /// The median of what `left` took more than `right` in the same round.
    pub fn difference(&self, left: &str, right: &str) -> f64 {
        quantile(&self.paired(left, right, |left, right| left - right), 0.5)
    }

    /// The median of `left` as a part of `right` in the same round.
    pub fn ratio(&self, left: &str, right: &str) -> f64 {
        quantile(&self.paired(left, right, |left, right| left / right), 0.5)
    }

    /// Each contestant's name and median.
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

/// What the broker's pairs need besides.
#[cfg_attr(not(have_flux), allow(dead_code))]
impl Samples {
    /// What was measured beside, in the same rounds.
    pub fn beside(figures: Vec<(&'static str, Vec<f64>)>) -> Samples {
        Samples(figures)
    }

    /// How many rounds were measured.
    pub fn rounds(&self) -> usize {
        self.0.first().map_or(0, |(_, figures)| figures.len())
    }

    pub fn median(&self, name: &str) -> f64 {
        quantile(self.of(name), 0.5)
    }

    /// Lower quartile, median, upper quartile of `ratio`.
    pub fn ratio_quartiles(&self, left: &str, right: &str) -> [f64; 3] {
        let ratios = self.paired(left, right, |left, right| left / right);
        [0.25, 0.5, 0.75].map(|at| quantile(&ratios, at))
    }

    /// The median of `ratio`, between the ends of its interval at 95 %: the largest
    /// by order statistics, which asks nothing of how the ratios are distributed.
    pub fn ratio_interval(&self, left: &str, right: &str) -> [f64; 3] {
        let mut ratios = self.paired(left, right, |left, right| left / right);
        ratios.sort_by(f64::total_cmp);
        let n = ratios.len();
        // The chance that at most `index` of the ratios are below the median.
        let (mut index, mut chance, mut below) = (0, 0.5f64.powi(n as i32), 0.0);
        while below + chance <= 0.025 {
            below += chance;
            chance *= (n - index) as f64 / (index + 1) as f64;
            index += 1;
        }
        // Too few for an interval: all of them.
        let first = index.saturating_sub(1);
        [ratios[first], quantile(&ratios, 0.5), ratios[n - 1 - first]]
    }
}

/// The figure below which this part of all lies.
fn quantile(figures: &[f64], part: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}
