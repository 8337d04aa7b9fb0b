//! Everything that is derived from the table: types, codec, handler, dispatch, samples.

/// Derives the whole vocabulary from the rows; called once, in `rows/mod.rs`.
macro_rules! vocabulary {
    ({ $($rows:tt)* }) => {
        derive::vocabulary! { $($rows)* }
    };
    ($(
        $(#[doc = $doc:literal])+
        $opcode:literal $class:ident $Name:ident $method:ident
            [$($cuda:literal),* $(,)?] since $since:literal
        { $( $(#[doc = $fdoc:literal])+ $dir:ident $field:ident: $ty:ty ),* $(,)? }
        $( tail $(#[doc = $tdoc:literal])+ $tail:ident )?
        $( reply $Reply:ident { $( $(#[doc = $rdoc:literal])+ $rfield:ident: $rty:ty ),* $(,)? } )?
        ;
    )+) => {
        /// Every row of the table, in the order of the opcodes.
        pub const ROWS: &[Row] = &[$(Row {
            opcode: $opcode,
            name: stringify!($Name),
            method: stringify!($method),
            cuda: &[$($cuda),*],
            class: derive::class!($class),
            since: $since,
            fields: derive::fields!($($dir $field: $ty),*),
            tail: derive::first!($(Some(stringify!($tail)),)? None),
            reply: derive::fields!($($(out $rfield: $rty),*)?),
            doc: concat!($($doc),+),
        }),+];

        $(derive::command! {
            $class $opcode $Name { $(#[doc = $doc])+ }
            { $($(#[doc = $fdoc])+ $field: $ty,)* }
            { $($(#[doc = $tdoc])+ $tail)? }
            { $($Reply { $($(#[doc = $rdoc])+ $rfield: $rty,)* })? }
        })+

        /// One method a row that crosses the ring: what a backend does for each command.
        ///
        /// `C` is what the worker hands to each command beside the bytes. A method that is not
        /// overridden answers with [`Handler::unsupported`], so adding a row never breaks a
        /// backend and never makes up a success.
        pub trait Handler<C> {
            /// Called for each command without a method of its own; counts and logs it, and
            /// returns the status for the caller, normally [`Status::NOT_SUPPORTED`].
            fn unsupported(&mut self, cx: &mut C, row: &'static Row) -> Status;

            $(derive::method! { $class $opcode $Name $method {$($tail)?} {$($Reply)?} {$($doc)+} })+
        }

        /// Decodes one command and calls the handler's method for it.
        ///
        /// # Errors
        /// [`DecodeError`] if the bytes are not exactly one command of the vocabulary: a breach
        /// of the protocol, after which nothing else from that sender should be read. The
        /// handler was not called.
        #[inline]
        pub fn dispatch<C, H: Handler<C> + ?Sized>(
            handler: &mut H,
            cx: &mut C,
            bytes: &[u8],
        ) -> Result<Done, DecodeError> {
            match Header::read(bytes)?.opcode {
                $($opcode => derive::dispatch!($class $opcode $Name $method handler cx bytes),)+
                found => Err(unknown_opcode(found)),
            }
        }

        /// Decodes a command and encodes it again into `sink`: what it writes is what it read.
        /// For tests, fuzzers and tools that copy recordings.
        ///
        /// # Errors
        /// As [`dispatch`].
        pub fn reencode<S: Sink>(bytes: &[u8], sink: &mut S) -> Result<&'static Row, DecodeError> {
            match Header::read(bytes)?.opcode {
                $($opcode => derive::reencode!($class $opcode $Name bytes sink),)+
                found => Err(unknown_opcode(found)),
            }
        }

        derive::each_row! { ($) $($class $method $Name {$($tail)?} {$($Reply)?})+ }

        /// One well-formed command of each row that crosses the ring, with arbitrary contents.
        pub(crate) fn sample_all(draw: &mut Draw, mut each: impl FnMut(&'static Row, Vec<u8>)) {
            $(derive::sample!($class $opcode $Name {$($field)*} {$($tail)?} draw each);)+
        }

        /// Each reply body with arbitrary contents, as a whole successful reply, and what
        /// decoding and encoding it again gives.
        #[cfg(test)]
        pub(crate) fn sample_replies(
            draw: &mut Draw,
            mut each: impl FnMut(&'static Row, crate::Reply, Result<crate::Reply, DecodeError>),
        ) {
            $($(
                let body = $Reply { $($rfield: Field::sample(draw)),* };
                let reply = crate::Reply::new(Ok(body));
                let (bytes, len) = reply.to_bytes();
                let again = $Reply::decode(&bytes[..len]).map(crate::Reply::new);
                each(row_of($opcode), reply, again);
            )?)+
        }
    };
}

/// The table for macros of other crates.
macro_rules! each_row {
    (($d:tt) $($rows:tt)+) => {
        /// Calls a macro with the whole table: `class method Command {tail} {Reply}` a row, tail and reply empty for rows
        /// without. For code that must have something for each row and cannot have a loop, such as a wrapper of a
        /// [`Handler`].
        #[macro_export]
        macro_rules! each_row {
            ($d callback:ident) => {
                $d callback! { $($rows)+ }
            };
        }
    };
}

macro_rules! class {
    (local) => {
        Class::Local
    };
    (post) => {
        Class::Post
    };
    (sync) => {
        Class::Sync
    };
}

macro_rules! direction {
    (in) => {
        Direction::In
    };
    (out) => {
        Direction::Out
    };
}

macro_rules! first {
    ($first:expr $(, $rest:expr)*) => {
        $first
    };
}

/// The field rows with their offsets.
macro_rules! fields {
    () => { &[] };
    ($($dir:ident $field:ident: $ty:ty),+) => {
        &{
            let end = 0;
            $(
                let $field = align_up(end, <$ty as Field>::ALIGN);
                let end = $field + <$ty as Field>::BYTES;
            )+
            let _ = end;
            [$(FieldRow {
                name: stringify!($field),
                ty: stringify!($ty),
                direction: derive::direction!($dir),
                offset: $field,
                bytes: <$ty as Field>::BYTES,
            }),+]
        }
    };
}

/// Bytes of a fixed part: the fields naturally aligned, the whole a multiple of 8.
macro_rules! packed_bytes {
    ($($ty:ty),*) => {{
        let end = 0;
        $(let end = align_up(end, <$ty as Field>::ALIGN) + <$ty as Field>::BYTES;)*
        align_up(end, 8)
    }};
}

/// A command's struct with its codec, and its reply's.
macro_rules! command {
    (local $($rest:tt)*) => {};
    (
        $class:ident $opcode:literal $Name:ident { $(#[doc = $doc:literal])+ }
        { $($(#[doc = $fdoc:literal])+ $field:ident: $ty:ty,)* }
        { $(#[doc = $tdoc:literal])+ $tail:ident }
        $reply:tt
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $Name<'a> {
            $($(#[doc = $fdoc])+ pub $field: $ty,)*
            $(#[doc = $tdoc])+
            pub $tail: Tail<'a>,
        }

        derive::codec! {
            $class $opcode {$Name<'_>} {$Name<'a>} $Name { $($field: $ty,)* } tail {$tail}
        }
        derive::reply! { $opcode {$Name<'_>} $reply }
    };
    (
        $class:ident $opcode:literal $Name:ident { $(#[doc = $doc:literal])+ }
        { $($(#[doc = $fdoc:literal])+ $field:ident: $ty:ty,)* }
        {}
        $reply:tt
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $Name {
            $($(#[doc = $fdoc])+ pub $field: $ty,)*
        }

        derive::codec! {
            $class $opcode {$Name} {$Name} $Name { $($field: $ty,)* } tail {}
        }
        derive::reply! { $opcode {$Name} $reply }
    };
}

macro_rules! codec {
    (
        $class:ident $opcode:literal {$Any:ty} {$Of:ty} $Name:ident
        { $($field:ident: $ty:ty,)* } tail {$($tail:ident)?}
    ) => {
        impl Command for $Any {
            const ROW: &'static Row = row_of($opcode);
            const FIXED_BYTES: usize = derive::packed_bytes!($($ty),*);

            #[inline(always)]
            fn encoded_len(&self) -> usize {
                HEADER_BYTES + Self::FIXED_BYTES $(+ self.$tail.encoded_len())?
            }

            #[inline(always)]
            fn encode<S: Sink>(&self, sink: &mut S) {
                let (flags, tail_len) = derive::first!($(self.$tail.header(),)? (0u16, 0u32));
                let mut packer = Packer::new(sink);
                packer.put($opcode, 2);
                packer.put(u64::from(flags), 2);
                packer.put(u64::from(tail_len), 4);
                $(self.$field.pack(&mut packer);)*
                packer.finish();
                $(self.$tail.encode(sink);)?
            }
        }

        impl<'a> Decode<'a> for $Of {
            #[inline(always)]
            fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                const FIXED: usize = <$Any as Command>::FIXED_BYTES;
                let row = row_of($opcode);
                let (fixed, _tail) = wire::open::<FIXED>(row, bytes)?;
                #[allow(unused_mut, reason = "a row without fields reads nothing")]
                let mut unpacker = Unpacker::new(fixed);
                let command = Self {
                    $($field: Field::unpack(&mut unpacker),)*
                    $($tail: _tail,)?
                };
                wire::no_padding(row, unpacker)?;
                Ok(command)
            }
        }

        derive::class_impl! { $class {$Any} }
    };
}

macro_rules! class_impl {
    (post {$Any:ty}) => {
        impl PostCommand for $Any {}
    };
    // The reply names itself in `reply!`.
    (sync {$Any:ty}) => {};
}

macro_rules! reply {
    ($opcode:literal {$Any:ty} {}) => {};
    ($opcode:literal {$Any:ty} { $Reply:ident { $($(#[doc = $rdoc:literal])+ $field:ident: $ty:ty,)* } }) => {
        #[doc = concat!("The reply to [`", stringify!($Any), "`].")]
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $Reply {
            $($(#[doc = $rdoc])+ pub $field: $ty,)*
        }

        impl SyncCommand for $Any {
            type Reply = $Reply;
        }

        impl ReplyBody for $Reply {
            const BYTES: usize = derive::packed_bytes!($($ty),*);
            const ROW: &'static Row = row_of($opcode);

            #[inline]
            fn encode<S: Sink>(&self, sink: &mut S) {
                #[allow(unused_mut, reason = "a reply without fields writes nothing")]
                let mut packer = Packer::new(sink);
                $(self.$field.pack(&mut packer);)*
                packer.finish();
            }

            #[inline]
            fn decode(reply: &[u8]) -> Result<Result<Self, Status>, DecodeError> {
                let row = row_of($opcode);
                let fixed = match crate::reply::open::<{ <$Reply as ReplyBody>::BYTES }>(row, reply)? {
                    Ok(fixed) => fixed,
                    Err(status) => return Ok(Err(status)),
                };
                #[allow(unused_mut, reason = "a reply without fields reads nothing")]
                let mut unpacker = Unpacker::new(fixed);
                let body = Self { $($field: Field::unpack(&mut unpacker),)* };
                wire::no_padding(row, unpacker)?;
                Ok(Ok(body))
            }
        }
    };
}

macro_rules! method {
    (local $($rest:tt)*) => {};
    ($class:ident $opcode:literal $Name:ident $method:ident {$tail:ident} $reply:tt $doc:tt) => {
        derive::method! { @ $class $opcode $method {$Name<'_>} $reply $doc }
    };
    ($class:ident $opcode:literal $Name:ident $method:ident {} $reply:tt $doc:tt) => {
        derive::method! { @ $class $opcode $method {$Name} $reply $doc }
    };
    (@ post $opcode:literal $method:ident {$Command:ty} {} {$($doc:literal)+}) => {
        $(#[doc = $doc])+
        ///
        /// # Errors
        /// The status that is latched with the command's number.
        fn $method(&mut self, cx: &mut C, command: $Command) -> Result<(), Status> {
            let _ = command;
            Err(self.unsupported(cx, row_of($opcode)))
        }
    };
    (@ sync $opcode:literal $method:ident {$Command:ty} {$Reply:ident} {$($doc:literal)+}) => {
        $(#[doc = $doc])+
        ///
        /// # Errors
        /// The status that the caller gets instead of the reply's fields.
        fn $method(&mut self, cx: &mut C, command: $Command) -> Result<$Reply, Status> {
            let _ = command;
            Err(self.unsupported(cx, row_of($opcode)))
        }
    };
}

macro_rules! dispatch {
    (local $opcode:literal $Name:ident $method:ident $handler:ident $cx:ident $bytes:ident) => {
        Err(local_opcode(row_of($opcode)))
    };
    (post $opcode:literal $Name:ident $method:ident $handler:ident $cx:ident $bytes:ident) => {{
        let command = $Name::decode($bytes)?;
        Ok(Done::Posted($handler.$method($cx, command)))
    }};
    (sync $opcode:literal $Name:ident $method:ident $handler:ident $cx:ident $bytes:ident) => {{
        let command = $Name::decode($bytes)?;
        Ok(Done::Replied(Reply::new($handler.$method($cx, command))))
    }};
}

macro_rules! reencode {
    (local $opcode:literal $Name:ident $bytes:ident $sink:ident) => {
        Err(local_opcode(row_of($opcode)))
    };
    ($class:ident $opcode:literal $Name:ident $bytes:ident $sink:ident) => {{
        $Name::decode($bytes)?.encode($sink);
        Ok(row_of($opcode))
    }};
}

macro_rules! sample {
    (local $($rest:tt)*) => {};
    ($class:ident $opcode:literal $Name:ident {$($field:ident)*} {$($tail:ident)?}
        $draw:ident $each:ident) => {{
        let bytes = crate::samples::tail_bytes($draw);
        let _tail = crate::samples::tail(&bytes, $draw);
        let command = $Name { $($field: Field::sample($draw),)* $($tail: _tail,)? };
        let mut encoded = Vec::new();
        command.encode(&mut encoded);
        $each(row_of($opcode), encoded);
    }};
}

pub(crate) use {
    class, class_impl, codec, command, direction, dispatch, each_row, fields, first, method,
    packed_bytes, reencode, reply, sample, vocabulary,
};
