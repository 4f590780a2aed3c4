package redisengine

import "strings"

// keyspace names the keys of a deployment.
//
//	<prefix>:partitions     sorted set, all scores 0: the names of partitions
//	<prefix>:{<name>}:m     hash: what is known of the partition as a whole
//	<prefix>:{<name>}:k     sorted set, all scores 0: the keys of its entries, in order
//	<prefix>:{<name>}:v     hash: their values, but for the empty ones
//	<prefix>:{<name>}:e     sorted set: the keys that expire, by Unix milliseconds
//	<prefix>:{<name>}:f     stream: the change feed, by position
//	<prefix>:{<name>}:u     stream: what the newest batches replaced, by revision
//
// The braces are a hash tag: in a Cluster the six lie on one shard.
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

// written lists the keys that a script which writes is given.
func (k keyspace) written(partition string) []string { return k.list(partition, "mkvefu") }

// read lists the keys that a view reads.
func (k keyspace) read(partition string) []string { return k.list(partition, "mkvu") }

func (k keyspace) list(partition, letters string) []string {
	keys := make([]string, len(letters))
	for i := range len(letters) {
		keys[i] = k.of(partition, letters[i])
	}
	return keys
}
