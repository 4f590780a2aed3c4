package redisengine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// An operator lets a Redis evict, and its memory is full: it drops some of the keys of a
// vendor. Nothing is read of what is left, a use of a link is refused, and the loss is shown,
// instead of revocations that are not found, reads that fail without end, and writes that the
// logs refuse. After the acceptance the vendor is read and written again. Without the change
// feed, the log of replaced values and the times of expiry nothing is lost, but a view that
// needs the log ends.
func TestPartitionOfWhichAKeyIsEvicted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for _, letters := range []string{"m", "k", "v", "f", "u", "mk", "mv", "kv"} {
		t.Run(letters, func(t *testing.T) {
			options := optionsFor(t, server.URL())
			one, other := guarded(t, options), guarded(t, options)
			uses(t, one, "a", 10)
			commit(t, one, engine.Batch{Puts: []engine.Put{put("empty", ""), put("full", "v")}, Event: []byte("e")})
			require.False(t, lost(t, other))
			get := func(s engine.Snapshot) error {
				value, err := s.Get([]byte("full"))
				if err == nil && string(value) != "v" {
					t.Errorf("the value is %q", value)
				}
				return err
			}
			running := one.View(t.Context(), "acme", func(s engine.Snapshot) error {
				require.NoError(t, get(s))
				commit(t, other, engine.Batch{Puts: []engine.Put{put("empty", "now")}})
				for _, letter := range letters {
					require.EqualValues(t, 1, server.Do("del", options.Prefix+":{acme}:"+string(letter)))
				}
				value, err := s.Get([]byte("empty"))
				require.Empty(t, value)
				return err
			})
			if letters == "f" {
				require.NoError(t, running)
			} else {
				require.Error(t, running)
			}
			if letters != "f" && letters != "u" {
				require.ErrorIs(t, other.View(t.Context(), "acme", get), engine.ErrWentBack)
				for _, node := range []*redisengine.Engine{one, other} {
					_, err := node.Commit(t.Context(), "acme", useBatch("b"))
					require.ErrorIs(t, err, engine.ErrWentBack)
					require.True(t, lost(t, node))
					node.Adopt("acme")
				}
				require.NoError(t, other.AcceptLoss(t.Context(), "acme"))
			}
			require.False(t, lost(t, one))
			require.False(t, lost(t, other))
			uses(t, one, "c", 3)
			commit(t, other, engine.Batch{Puts: []engine.Put{put("full", "v")}, Event: []byte("e")})
			require.NoError(t, one.View(t.Context(), "acme", func(s engine.Snapshot) error {
				for entry, err := range s.Scan([]byte("a"), nil) {
					require.NoError(t, err)
					value, err := s.Get(entry.Key)
					require.NoError(t, err)
					require.Equal(t, entry.Value, value)
				}
				for key, want := range map[string]bool{"Uc0": true, "Ua0": len(letters) == 1 && letters != "k" && letters != "v"} {
					value, err := s.Get([]byte(key))
					require.NoError(t, err)
					require.Equal(t, want, value != nil, key)
				}
				return get(s)
			}))
		})
	}
}
