package enginetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
)

var viewTests = []test{
	{"a partition that was never written is empty", func(b *fixture) {
		require.Equal(b, absent, b.get("k"))
		require.Zero(b, b.count("k"))
		require.Empty(b, b.keys(nil, nil))
		require.Zero(b, b.position())
		require.Empty(b, b.events(0, 10))
	}},
	{"what was committed is there", func(b *fixture) {
		b.put("k", "v")
		require.Equal(b, "v", b.get("k"))
		b.put("k", "w")
		require.Equal(b, "w", b.get("k"))
	}},
	{"an empty value is not an absent key", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{{Key: []byte("nil")}, {Key: []byte("empty"), Value: []byte{}}}})
		require.Equal(b, "", b.get("nil"))
		require.Equal(b, "", b.get("empty"))
		require.Equal(b, absent, b.get("other"))
		require.Equal(b, []string{"empty", "nil"}, b.keys(nil, nil))
	}},
	{"View returns the error of its function", func(b *fixture) {
		mine := errors.New("mine")
		require.Equal(b, mine, b.engine.View(b.Context(), partition, func(engine.Snapshot) error { return mine }))
	}},
	{"a view does not see what is committed while it runs", func(b *fixture) {
		b.commit(engine.Batch{
			Puts:     []engine.Put{put("a", "old"), put("gone", "old")},
			Counters: []engine.Counter{{Key: []byte("n")}},
		})
		b.view(func(s engine.Snapshot) {
			require.Equal(b, "old", b.read(s, "a"))
			committed := make(chan error)
			go func() {
				_, err := b.engine.Commit(b.Context(), partition, &engine.Batch{
					Deletes:  [][]byte{[]byte("gone")},
					Puts:     []engine.Put{put("a", "new"), put("b", "new")},
					Counters: []engine.Counter{{Key: []byte("n")}},
				})
				committed <- err
			}()
			require.NoError(b, <-committed)

			require.Equal(b, "old", b.read(s, "a"))
			require.Equal(b, "old", b.read(s, "gone"))
			require.Equal(b, absent, b.read(s, "b"))
			require.Equal(b, []string{"a", "gone", "n"}, b.scan(s, nil, nil))
			n, err := s.Count([]byte("n"))
			require.NoError(b, err)
			require.EqualValues(b, 1, n)
		})
		require.Equal(b, []string{"a", "b", "n"}, b.keys(nil, nil))
	}},
	{"views among commits see each batch whole", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{put("left", "0"), put("right", "0")}})
		done := make(chan struct{})
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for {
					b.view(func(s engine.Snapshot) {
						require.Equal(b, b.read(s, "left"), b.read(s, "right"))
					})
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		inParallel(4, func(i int) {
			for n := range 25 {
				value := fmt.Sprintf("%d/%d", i, n)
				b.commit(engine.Batch{Puts: []engine.Put{put("left", value), put("right", value)}})
			}
		})
		close(done)
		readers.Wait()
	}},
	{"partitions know nothing of each other", func(b *fixture) {
		names := []string{"a", "ab", "b", "meta", "p"}
		for _, name := range []string{"p", "ab", "meta", "b", "a"} {
			committed, err := b.engine.Commit(b.Context(), name, &engine.Batch{
				Puts:     []engine.Put{put("key", name)},
				Counters: []engine.Counter{{Key: []byte("n"), Max: 1}},
				Event:    []byte(name),
			})
			require.NoError(b, err)
			require.EqualValues(b, 1, committed.Position)
		}
		found, err := b.engine.Partitions(b.Context())
		require.NoError(b, err)
		require.Equal(b, names, found, "in order")
		for _, name := range names {
			b.viewOf(name, func(s engine.Snapshot) {
				require.Equal(b, name, b.read(s, "key"))
				require.Equal(b, []string{"key", "n"}, b.scan(s, nil, nil))
			})
			events, err := b.engine.Events(b.Context(), name, 0, 10)
			require.NoError(b, err)
			require.Equal(b, []engine.Event{{Position: 1, Payload: []byte(name)}}, events)
		}
	}},
	{"to read a partition does not make it", func(b *fixture) {
		b.get("k")
		b.position()
		b.events(0, 1)
		b.refuse(engine.Batch{Checks: []engine.Check{{Key: []byte("k"), Present: true}}, Puts: []engine.Put{put("k", "v")}})
		found, err := b.engine.Partitions(b.Context())
		require.NoError(b, err)
		require.Empty(b, found)
	}},
}

var scanTests = []test{
	{"entries come in the order of their bytes, with their values", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{put("b", "2"), put("a\x00", "1"), put("é", "4"), put("a", "0"), put("b\xff", "3")}})
		var entries []string
		b.view(func(s engine.Snapshot) {
			for entry, err := range s.Scan(nil, nil) {
				require.NoError(b, err)
				entries = append(entries, string(entry.Key)+"="+string(entry.Value))
			}
		})
		require.Equal(b, []string{"a=0", "a\x00=1", "b=2", "b\xff=3", "é=4"}, entries)
	}},
	{"only what has the prefix", func(b *fixture) {
		keys := []string{"a", "a/", "a/1", "a/2", "a0", "b/1"}
		b.putAll(keys)
		require.Equal(b, []string{"a/", "a/1", "a/2"}, b.keys([]byte("a/"), nil))
		require.Equal(b, []string{"a", "a/", "a/1", "a/2", "a0"}, b.keys([]byte("a"), nil))
		require.Equal(b, keys, b.keys(nil, nil))
		require.Equal(b, keys, b.keys([]byte{}, nil))
		require.Empty(b, b.keys([]byte("a/3"), nil))
		require.Empty(b, b.keys([]byte("z"), nil))
	}},
	{"only what sorts behind a key", func(b *fixture) {
		b.putAll([]string{"a", "b", "b/1", "b/2", "b/3", "c"})
		require.Equal(b, []string{"b/2", "b/3"}, b.keys([]byte("b/"), []byte("b/1")))
		require.Equal(b, []string{"b/2", "b/3"}, b.keys([]byte("b/"), []byte("b/15")), "a key that is not there")
		require.Equal(b, []string{"b/1", "b/2", "b/3"}, b.keys([]byte("b/"), []byte("a")), "before the prefix")
		require.Equal(b, []string{"b/1", "b/2", "b/3"}, b.keys([]byte("b/"), []byte("b/")), "the prefix itself")
		require.Empty(b, b.keys([]byte("b/"), []byte("b/3")), "the last one")
		require.Empty(b, b.keys([]byte("b/"), []byte("c")), "behind the prefix")
		require.Equal(b, []string{"b/1", "b/2", "b/3", "c"}, b.keys(nil, []byte("b")), "without a prefix")
		require.Len(b, b.keys(nil, []byte{}), 6, "everything sorts behind the empty key")
	}},
	{"backwards, only what sorts before a key", func(b *fixture) {
		b.putAll([]string{"a", "b", "b/1", "b/2", "b/3", "c"})
		require.Equal(b, []string{"b/2", "b/1"}, b.back([]byte("b/"), []byte("b/3")))
		require.Equal(b, []string{"b/2", "b/1"}, b.back([]byte("b/"), []byte("b/25")), "a key that is not there")
		require.Equal(b, []string{"b/3", "b/2", "b/1"}, b.back([]byte("b/"), []byte("c")), "behind the prefix")
		require.Equal(b, []string{"b/3", "b/2", "b/1"}, b.back([]byte("b/"), []byte("b0")), "just behind the prefix")
		require.Empty(b, b.back([]byte("b/"), []byte("b/1")), "the first one")
		require.Empty(b, b.back([]byte("b/"), []byte("b/")), "the prefix itself")
		require.Empty(b, b.back([]byte("b/"), []byte("a")), "before the prefix")
		require.Empty(b, b.back(nil, []byte{}), "nothing sorts before the empty key")
		require.Equal(b, []string{"b", "a"}, b.back(nil, []byte("b/1")), "without a prefix")
		require.Len(b, b.back(nil, []byte("z")), 6, "behind everything")
		require.Empty(b, b.back([]byte("z"), nil), "a prefix without keys")
	}},
	{"a prefix of 0xFF bytes has no next one, and ends with the last key", func(b *fixture) {
		keys := []string{"\xfe\xff", "\xff", "\xff\x00", "\xff\xfe", "\xff\xff", "\xff\xff\x01"}
		b.putAll(keys)
		require.Equal(b, keys[1:], b.keys([]byte("\xff"), nil))
		require.Equal(b, keys[4:], b.keys([]byte("\xff\xff"), nil))
		require.Equal(b, keys[5:], b.keys([]byte("\xff\xff"), []byte("\xff\xff")))
		require.Equal(b, keys[:1], b.keys([]byte("\xfe"), nil))
		require.Equal(b, keys[:1], b.keys([]byte("\xfe\xff"), nil))
	}},
	{"keys that begin other keys, and keys of zero bytes", func(b *fixture) {
		keys := []string{"\x00", "\x00\x00", "\x00\x00\x00", "\x00\x01", "a", "aa", "aaa"}
		b.putAll(keys)
		require.Equal(b, keys, b.keys(nil, nil))
		require.Equal(b, keys[1:3], b.keys([]byte("\x00\x00"), nil))
		require.Equal(b, keys[1:4], b.keys([]byte("\x00"), []byte("\x00")))
		require.Equal(b, keys[5:], b.keys([]byte("a"), []byte("a")))
		b.commit(engine.Batch{Deletes: [][]byte{[]byte("aa")}})
		require.Equal(b, []string{"a", "aaa"}, b.keys([]byte("a"), nil))
	}},
	{"a scan may be left early, and begun again", func(b *fixture) {
		b.putAll([]string{"a", "b", "c"})
		b.view(func(s engine.Snapshot) {
			scan := s.Scan(nil, nil)
			for range 2 {
				var seen []string
				for entry, err := range scan {
					require.NoError(b, err)
					seen = append(seen, string(entry.Key))
					if len(seen) == 2 {
						break
					}
				}
				require.Equal(b, []string{"a", "b"}, seen)
			}
		})
		b.put("d", "v") // nothing is left locked
	}},
	{"page by page a scan gives the same as at once", func(b *fixture) {
		var keys []string
		for i := range 1000 {
			keys = append(keys, fmt.Sprintf("k/%04d", i))
		}
		b.putAll(keys)
		var paged []string
		var after []byte
		for len(paged) < len(keys) {
			b.view(func(s engine.Snapshot) {
				n := 0
				for entry, err := range s.Scan([]byte("k/"), after) {
					require.NoError(b, err)
					if n++; n > 70 {
						break
					}
					paged = append(paged, string(entry.Key))
				}
				require.NotZero(b, n)
			})
			after = []byte(paged[len(paged)-1])
		}
		require.Equal(b, keys, paged)
		paged = nil
		for before := []byte(nil); len(paged) < len(keys); before = []byte(paged[len(paged)-1]) {
			b.view(func(s engine.Snapshot) {
				n := 0
				for entry, err := range s.ScanBack([]byte("k/"), before) {
					require.NoError(b, err)
					if n++; n > 70 {
						break
					}
					paged = append(paged, string(entry.Key))
				}
				require.NotZero(b, n)
			})
		}
		slices.Reverse(paged)
		require.Equal(b, keys, paged)
	}},
	{"a scan backwards does not see what is committed while it runs", func(b *fixture) {
		var keys []string
		for i := range 1000 {
			keys = append(keys, fmt.Sprintf("k/%04d", i))
		}
		b.putAll(keys)
		b.view(func(s engine.Snapshot) {
			var seen []string
			for entry, err := range s.ScanBack([]byte("k/"), nil) {
				require.NoError(b, err)
				require.Equal(b, "v", string(entry.Value))
				if n := len(seen); n%100 == 50 {
					committed := make(chan error)
					go func() {
						_, err := b.engine.Commit(b.Context(), partition, &engine.Batch{
							Deletes: [][]byte{[]byte(keys[1000-n]), []byte(keys[500])},
							Puts:    []engine.Put{put(fmt.Sprintf("k/%04d+", 999-n-40), "new"), put(keys[100], "new")},
						})
						committed <- err
					}()
					require.NoError(b, <-committed)
				}
				seen = append(seen, string(entry.Key))
			}
			slices.Reverse(seen)
			require.Equal(b, keys, seen)
		})
	}},
}

func (b *fixture) putAll(keys []string) {
	b.Helper()
	var batch engine.Batch
	for _, key := range keys {
		batch.Puts = append(batch.Puts, put(key, "v"))
	}
	b.commit(batch)
}
