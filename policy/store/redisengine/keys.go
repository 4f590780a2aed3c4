package redisengine

import "strings"

// keyspace names the keys of a deployment.
//
//	<prefix>:partitions     sorted set, all scores 0: the names of partitions
//	<prefix>:{<name>}:m     hash: state of the partition
//	<prefix>:{<name>}:k     sorted set, all scores 0: the keys of its entries
//	<prefix>:{<name>}:v     hash: their values, except empty ones
//	<prefix>:{<name>}:e     sorted set: the keys that expire, by Unix milliseconds
//	<prefix>:{<name>}:f     stream: the change feed, by position
//	<prefix>:{<name>}:u     stream: the undo log of the newest batches, by revision
//	<prefix>:{<name>}:r     reserve: memory for what closes, see make_room
//
// The braces are a hash tag: in a Cluster the seven are on one shard.
type keyspace struct{ prefix string }

func newKeyspace(prefix string) keyspace { return keyspace{prefix} }

func (k keyspace) partitions() string { return k.prefix + ":partitions" }

func (k keyspace) of(partition string, letter byte) string {
	var key strings.Builder
	key.Grow(len(k.prefix) + len(partition) + 5)
	key.WriteString(k.prefix)
	key.WriteString(":{")
	key.WriteString(partition)
	key.WriteString("}:")
	key.WriteByte(letter)
	return key.String()
}

func (k keyspace) meta(partition string) string { return k.of(partition, 'm') }

// written lists the keys of scripts that write.
func (k keyspace) written(partition string) []string { return k.list(partition, "mkvefur") }

// read lists the keys of views.
func (k keyspace) read(partition string) []string { return k.list(partition, "mkvu") }

func (k keyspace) list(partition, letters string) []string {
	keys := make([]string, len(letters))
	for i := range len(letters) {
		keys[i] = k.of(partition, letters[i])
	}
	return keys
}
