//! Launches that are given to the driver together.
//!
//! Between two calls of the driver the processor's caches lose the code that decodes commands. So launches behind which more
//! commands wait in the ring already are decoded first, a few of them, and then launched one after another. On an H200 that
//! takes 0.06 us off a launch's 3.6. Whatever is not a launch into the same stream comes after all that wait.
//!
//! Parameters go one by one (`kernelParams`) and not as one block (`extra`): natively, with eight of them, a block costs
//! 0.12 us more a launch (median of 17 rounds on an H200, driver 580.159.04).

use crate::api::{Api, Raw};
use crate::launch::Extra;
use ringbar_vocabulary::{LaunchKernel, PARAM_BLOCK_MAX_BYTES, Param, Status, StreamId};
use std::ffi::c_void;
use std::ops::Range;

/// Most launches that wait.
const TOGETHER: usize = 8;
/// Most bytes of their parameters: one block of any size, or several of usual ones.
const BYTES_MAX: usize = PARAM_BLOCK_MAX_BYTES + 4096;
/// Most parameters that are given one by one.
const LISTED_MAX: usize = 64;
/// Where blocks of parameters begin.
const ALIGN: usize = 8;

/// A list of pointers to parameters.
pub type Pointers = [*mut c_void; LISTED_MAX];

/// A launch that waits.
struct Waiting {
    function: Raw,
    stream: Raw,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    position: u64,
    params: Range<usize>,
    /// Where its parameters lie in the block, in the list of all that wait.
    places: Range<usize>,
}

/// The launches of one stream that wait.
#[derive(Default)]
pub struct Launches {
    stream: StreamId,
    waiting: Vec<Waiting>,
    params: Vec<u8>,
    places: Vec<u16>,
}

impl Launches {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The stream of those that wait; its context is current.
    #[inline]
    pub fn stream(&self) -> Option<Raw> {
        self.waiting.last().map(|launch| launch.stream)
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() >= TOGETHER
    }

    /// Whether a launch may wait behind those that do.
    pub fn takes(&self, launch: &LaunchKernel<'_>) -> bool {
        let bytes = launch.params.byte_len() as usize + ALIGN;
        self.is_empty() || launch.stream == self.stream && self.params.len() + bytes <= BYTES_MAX
    }

    /// Adds a launch; `params` has the bytes that `layout` speaks of.
    pub fn add(
        &mut self,
        (function, layout): (Raw, &[Param]),
        stream: Raw,
        launch: &LaunchKernel<'_>,
        params: &[u8],
        position: u64,
    ) {
        self.stream = launch.stream;
        let begin = self.params.len().next_multiple_of(ALIGN);
        if begin > self.params.len() {
            self.params.resize(begin, 0);
        }
        self.params.extend_from_slice(params);
        let places = self.places.len();
        self.places.extend(layout.iter().map(|param| param.offset));
        self.waiting.push(Waiting {
            function,
            stream,
            grid: launch.grid,
            block: launch.block,
            shared: launch.shared_bytes,
            position,
            params: begin..self.params.len(),
            places: places..self.places.len(),
        });
    }

    /// Launches all; `failed` is told the position of each that fails. After a failure that ends the device the rest fail alike.
    ///
    /// # Errors
    /// That failure.
    pub fn launch_all(
        &mut self,
        api: &Api,
        mut failed: impl FnMut(u64, Status),
    ) -> Result<(), Status> {
        let mut ended = Ok(());
        let mut pointers = [std::ptr::null_mut(); LISTED_MAX];
        for launch in &self.waiting {
            let params = &self.params[launch.params.clone()];
            let places = &self.places[launch.places.clone()];
            if let Err(status) = ended.and_then(|()| launch.run(api, params, places, &mut pointers))
            {
                failed(launch.position, status);
                ended = if status.is_sticky() { Err(status) } else { ended };
            }
        }
        self.waiting.clear();
        self.params.clear();
        self.places.clear();
        ended
    }
}

impl Waiting {
    fn run(
        &self,
        api: &Api,
        params: &[u8],
        places: &[u16],
        pointers: &mut Pointers,
    ) -> Result<(), Status> {
        let mut extra = Extra::new(params);
        let (list, extra) = match point(params, places.iter().copied(), pointers) {
            Some(list) => (list, std::ptr::null_mut()),
            None => (std::ptr::null_mut(), extra.list()),
        };
        let ([gx, gy, gz], [bx, by, bz]) = (self.grid, self.block);
        // SAFETY: a pointer to each parameter of a block that lives through the call, or a list that says its size.
        unsafe {
            api.cuLaunchKernel(
                self.function,
                gx,
                gy,
                gz,
                bx,
                by,
                bz,
                self.shared,
                self.stream,
                list,
                extra,
            )
        }
    }
}

/// Points at each parameter of a block; none if there are too many. Null where there are none.
pub fn point(
    params: &[u8],
    places: impl ExactSizeIterator<Item = u16>,
    pointers: &mut Pointers,
) -> Option<*mut *mut c_void> {
    if places.len() > LISTED_MAX {
        return None;
    }
    if places.len() == 0 {
        return Some(std::ptr::null_mut());
    }
    for (pointer, place) in pointers.iter_mut().zip(places) {
        // The layout ends where the block does, which was checked when the block came.
        *pointer = params.as_ptr().wrapping_add(usize::from(place)).cast_mut().cast();
    }
    Some(pointers.as_mut_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar_vocabulary::{FunctionId, Tail};

    fn launch(stream: u32, params: &[u8]) -> LaunchKernel<'_> {
        LaunchKernel {
            function: FunctionId(1),
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            stream: StreamId(stream),
            params: Tail::Inline(params),
        }
    }

    const LAYOUT: [Param; 2] = [Param { offset: 0, size: 8 }, Param { offset: 8, size: 4 }];

    fn add(launches: &mut Launches, params: &[u8], position: u64) {
        let launch = launch(5, params);
        assert!(launches.takes(&launch));
        launches.add((7, &LAYOUT), 9, &launch, params, position);
    }

    #[test]
    fn launches_wait_for_others_into_the_same_stream_while_there_is_room() {
        let mut launches = Launches::default();
        assert!(launches.is_empty() && launches.takes(&launch(1, &[0; PARAM_BLOCK_MAX_BYTES])));
        for position in 0..TOGETHER as u64 {
            assert!(!launches.is_full());
            add(&mut launches, &[1; 12], position);
        }
        assert!(launches.is_full());
        assert!(!launches.takes(&launch(6, &[1; 12])), "another stream");
        assert!(launches.takes(&launch(5, &[1; 12])));
        let large = [0; PARAM_BLOCK_MAX_BYTES];
        launches.params.resize(5000, 0);
        assert!(!launches.takes(&launch(5, &large)), "no room");
    }

    #[test]
    fn each_parameter_is_pointed_to_where_the_layout_has_it() {
        let mut launches = Launches::default();
        add(&mut launches, &[1; 12], 0);
        add(&mut launches, &[2; 12], 1);
        let mut pointers = [std::ptr::null_mut(); LISTED_MAX];
        for waiting in &launches.waiting {
            let params = &launches.params[waiting.params.clone()];
            assert_eq!((params.len(), waiting.params.start % ALIGN), (12, 0));
            let places = launches.places[waiting.places.clone()].iter().copied();
            let list = point(params, places, &mut pointers).expect("few");
            assert!(!list.is_null());
            let apart = |n: usize| pointers[n].addr() - params.as_ptr().addr();
            assert_eq!((apart(0), apart(1)), (0, 8));
        }
        assert!(point(&[], [].into_iter(), &mut pointers).expect("none").is_null());
        assert!(point(&[], [0; LISTED_MAX + 1].into_iter(), &mut pointers).is_none());
    }
}
