package policy

import (
	"math"
	"math/rand/v2"
	"net/http"
)

// trie finds rules by the segments of their templates.
//
// Nodes are in one slice in the order of insertion, so that the nodes of one path are
// mostly adjacent in memory. If a node has one child with a literal, it refers to it;
// the children of all other nodes are in one hash table. So a lookup takes the same
// steps for ten rules and for ten thousand.
type trie struct {
	seed  uint64
	nodes []node // the root is the first
	// table uses open addressing with linear probing, and is at most half full. An
	// entry is zero, or the upper half of the hash and the index of a node.
	table  []uint64
	filled int
	// methods holds the first rule by method, for nodes whose rules name methods.
	methods []map[string]int32
}

// node is one segment of the trie. It fills a cache line of 64 bytes.
type node struct {
	// literal is the segment; empty for the root and for captures. Ends are those of
	// the literal.
	literal string
	ends    segmentEnds
	// any is the index of the first rule that ends here and matches all methods.
	// Indexes are in the order of ranks.
	any int32
	// lowest is the lowest index of a rule that ends here or below.
	lowest int32
	parent int32
	// only is the child with a literal if there is exactly one, or severalNodes.
	// Capture is the child that captures.
	only, capture int32
	// methods is an index into the trie's methods plus one; zero for none.
	methods int32

	_ [8]byte
}

const (
	noRule int32 = math.MaxInt32
	// noNode is the index of the root, which is no node's child.
	noNode       int32 = 0
	severalNodes int32 = -1
)

// segmentEnds are the first and the last eight bytes of a text. Together with the
// length they determine a text of up to 16 bytes.
type segmentEnds struct{ first, last uint64 }

func endsOf(text string) segmentEnds {
	switch n := len(text); {
	case n >= 8:
		return segmentEnds{load64(text), load64(text[n-8:])}
	case n >= 4:
		return segmentEnds{uint64(load32(text)), uint64(load32(text[n-4:]))}
	case n > 0:
		return segmentEnds{uint64(text[0]) | uint64(text[n/2])<<8, uint64(text[n-1])}
	default:
		return segmentEnds{}
	}
}

// is reports whether the node's literal is a text with the given ends.
func (n *node) is(text string, ends segmentEnds) bool {
	return n.ends == ends && len(n.literal) == len(text) && (len(text) <= 16 || n.literal == text)
}

// newTrie returns a trie with space for about the given number of rules.
func newTrie(rules int) trie {
	//nolint:gosec // G404: segments come from the publisher, not from clients
	t := trie{seed: rand.Uint64(), nodes: make([]node, 0, 1+2*rules), table: make([]uint64, 16)}
	t.add(noNode, "")
	return t
}

func (t *trie) add(parent int32, literal string) int32 {
	t.nodes = append(t.nodes, node{literal: literal, ends: endsOf(literal), parent: parent, any: noRule, lowest: noRule})
	return int32(len(t.nodes) - 1) //nolint:gosec // a path has at most 512 segments, and memory ends before that
}

func (t *trie) insert(rule *compiledRule, index int32) {
	at := int32(0)
	t.nodes[at].lowest = min(t.nodes[at].lowest, index)
	for _, part := range rule.segments {
		at = t.child(at, part)
		t.nodes[at].lowest = min(t.nodes[at].lowest, index)
	}
	n := &t.nodes[at]
	if len(rule.Methods) == 0 {
		n.any = min(n.any, index)
		return
	}
	if n.methods == 0 {
		t.methods = append(t.methods, make(map[string]int32))
		n.methods = int32(len(t.methods)) //nolint:gosec // at most one a node
	}
	first := t.methods[n.methods-1]
	for _, method := range rule.Methods {
		if _, taken := first[method]; !taken && method != http.MethodHead { // judged as GET
			first[method] = index
		}
	}
}

// child returns a node's child for a segment, and adds it if it does not exist.
func (t *trie) child(at int32, part segment) int32 {
	if part.capture != "" {
		if t.nodes[at].capture == noNode {
			next := t.add(at, "")
			t.nodes[at].capture = next
		}
		return t.nodes[at].capture
	}
	if next := t.literal(at, part.literal); next != noNode {
		return next
	}
	next := t.add(at, part.literal)
	switch only := t.nodes[at].only; only {
	case noNode:
		t.nodes[at].only = next
	case severalNodes:
		t.put(next)
	default:
		t.nodes[at].only = severalNodes
		t.put(only)
		t.put(next)
	}
	return next
}

// literal returns a node's child with a literal, or noNode.
func (t *trie) literal(at int32, literal string) int32 {
	next := t.nodes[at].only
	if next == noNode {
		return noNode
	}
	ends := endsOf(literal)
	if next == severalNodes {
		return t.find(at, literal, ends)
	}
	if t.nodes[next].is(literal, ends) {
		return next
	}
	return noNode
}

// hash returns the hash of a node's parent and ends. It does not include the middle of
// a long literal, so equal hashes are possible.
func (t *trie) hash(parent int32, ends segmentEnds) uint64 {
	return mix(mix(t.seed^uint64(uint32(parent)), ends.first), ends.last) //nolint:gosec // a number
}

// find returns the child of a node that has several, or noNode.
func (t *trie) find(parent int32, literal string, ends segmentEnds) int32 {
	hash, table := t.hash(parent, ends), t.table
	for i := hash; ; i++ {
		entry := table[i&uint64(len(table)-1)]
		if entry == 0 {
			return noNode
		}
		if entry>>32 == hash>>32 {
			next := int32(uint32(entry)) //nolint:gosec // as it was put in
			if n := &t.nodes[next]; n.parent == parent && n.is(literal, ends) {
				return next
			}
		}
	}
}

// put adds a node to the table.
func (t *trie) put(at int32) {
	if 2*(t.filled+1) > len(t.table) {
		old := t.table
		t.table, t.filled = make([]uint64, 2*len(old)), 0
		for _, entry := range old {
			if entry != 0 {
				t.put(int32(uint32(entry))) //nolint:gosec // as it was put in
			}
		}
	}
	n := &t.nodes[at]
	hash := t.hash(n.parent, n.ends)
	last := uint64(len(t.table) - 1)
	i := hash & last
	for t.table[i] != 0 {
		i = (i + 1) & last
	}
	t.table[i] = hash>>32<<32 | uint64(uint32(at)) //nolint:gosec // a number
	t.filled++
}

// walk returns the lowest rule for a path, of the best so far and those at a node and
// below. It adds the number of nodes that it visited, which is the cost of the lookup.
func (t *trie) walk(at int32, segments []string, method string, best int32, visited int) (int32, int) {
	for {
		n := &t.nodes[at]
		visited++
		best = min(best, n.any)
		if n.methods != 0 {
			if index, ok := t.methods[n.methods-1][method]; ok {
				best = min(best, index)
			}
		}
		if len(segments) == 0 {
			return best, visited
		}
		next, capture := n.only, n.capture
		if next != noNode {
			ends := endsOf(segments[0])
			if next == severalNodes {
				next = t.find(at, segments[0], ends)
			} else if !t.nodes[next].is(segments[0], ends) {
				next = noNode
			}
		}
		segments = segments[1:]
		if next != noNode && capture != noNode {
			// First the branch that may have the lower rank, so that the other
			// is skipped more often.
			if t.nodes[capture].lowest < t.nodes[next].lowest {
				next, capture = capture, next
			}
			if t.nodes[next].lowest < best {
				best, visited = t.walk(next, segments, method, best, visited)
			}
			next = noNode
		}
		if at = next | capture; at == noNode || t.nodes[at].lowest >= best {
			return best, visited
		}
	}
}
