-- The start of all scripts that write. KEYS are the keys of one partition, in the order
-- of keys.go: m k v e f u r. ARGV begins with the id of the batch, whether it is sent again,
-- whether replicas must acknowledge it, and the mark of the caller: the newest
-- generation and revision that it saw, and the id of the batch at an earlier revision, if any;
-- and the time of the server in milliseconds after which nothing is written, empty for none.
local meta, names, values, expiries, feed, undo, reserve = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]

-- Maximum size of the undo log of a partition, in bytes.
local undo_budget = 2097152
-- Maximum number of fields of an entry of the undo log: unpack is bounded.
local undo_fields = 1000

local old, old_size = {}, 0 -- keys and their previous values, for the undo log
local noted = {}

-- value returns the value of a key, or false. Empty values are not in the hash.
local function value(key)
	local found = redis.call('HGET', values, key)
	if found then return found end
	if redis.call('ZSCORE', names, key) then return '' end
	return false
end

-- note adds the previous value of a key to the undo log, for running views.
local function note(key, before)
	if noted[key] then return end
	noted[key] = true
	local kept = before and ('+' .. before) or '-'
	old[#old + 1] = key
	old[#old + 1] = kept
	old_size = old_size + #key + #kept
end

local function put(key, new, expires)
	if redis.call('ZADD', names, 0, key) == 1 then
		note(key, false)
		if new ~= '' then redis.call('HSET', values, key, new) end
		if expires ~= '' then redis.call('ZADD', expiries, expires, key) end
		return
	end
	note(key, redis.call('HGET', values, key) or '')
	if new ~= '' then redis.call('HSET', values, key, new) else redis.call('HDEL', values, key) end
	if expires ~= '' then redis.call('ZADD', expiries, expires, key) else redis.call('ZREM', expiries, key) end
end

local function remove(key)
	local before = value(key)
	if not before then return end
	note(key, before)
	redis.call('ZREM', names, key)
	redis.call('HDEL', values, key)
	redis.call('ZREM', expiries, key)
end

-- make_room gives up what can be spared when the server has no memory: the reserve, expired
-- entries, and notes of repeated calls. After its first command, which the server always
-- takes, it takes the writes that follow as well.
local function make_room()
	redis.call('DEL', reserve)
	local now = redis.call('TIME')
	local spared = redis.call('ZRANGEBYSCORE', expiries, '-inf', now[1] .. '000', 'LIMIT', 0, 100)
	for _, key in ipairs(redis.call('ZRANGEBYLEX', names, '[Q', '(R', 'LIMIT', 0, 100)) do spared[#spared + 1] = key end
	for _, key in ipairs(spared) do
		redis.call('ZREM', names, key)
		redis.call('HDEL', values, key)
		redis.call('ZREM', expiries, key)
	end
end

local function number(n) return string.format('%.0f', n) end

local generation, revision, lost, position -- of the partition
local recorded = false -- whether this batch has a revision

-- batch_at returns the id of the batch at a revision, unless it is dropped from the undo log.
local function batch_at(at)
	local entry = redis.call('XRANGE', undo, at .. '-0', at .. '-0')[1]
	return entry and entry[2][1] == '' and string.match(entry[2][2], '^%x+')
end

-- evicted notices that the server evicted keys of a partition, and removes what cannot be
-- used any more: keys without values, values without keys, and the logs of a partition of
-- which the state is gone, which would refuse earlier revisions. The partition is then one
-- that lost its newest writes, or all. It returns whether it removed the state.
local function evicted(has_state, state_held)
	local there = redis.call('EXISTS', names, values)
	if has_state then
		if there >= tonumber(string.sub(state_held or '00', 1, 1)) + tonumber(string.sub(state_held or '00', 2)) then return false end
		redis.call('DEL', meta, names, values, expiries, undo, feed)
		return true
	end
	if there == 1 then
		redis.call('DEL', names, values, expiries, undo, feed)
	elseif redis.call('EXISTS', undo, feed) > 0 then
		redis.call('DEL', undo, feed)
	end
	return false
end

-- compare reads these, notices a partition that is behind what the caller saw, and
-- writes into it that it lost what follows. It returns whether it is behind.
local function compare()
	local seen_generation, seen_revision, seen_id, id_revision = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]
	local state = redis.call('HMGET', meta, 'gen', 'rev', 'lost', 'pos', 'last', 'held')
	if evicted(state[2], state[6]) then state = {} end
	generation, revision, lost, position = tonumber(state[1] or 0), tonumber(state[2] or 0), state[3], state[4] or '0'
	if generation > seen_generation then return false end
	local from = revision
	if generation == seen_generation and revision >= seen_revision then
		-- Others may have written as many batches since as were lost.
		if seen_id == '' or state[5] == id_revision .. ' ' .. seen_id then return false end
		local id = batch_at(id_revision)
		if not id or id == seen_id then return false end
		from = tonumber(id_revision) - 1
	end
	local now = redis.call('TIME')
	local at = now[1] .. string.format('%03d', math.floor(tonumber(now[2]) / 1000))
	if lost then
		local first, newest, seen, noticed = string.match(lost, '^(%d+) (%d+) (%d+) (%d+)$')
		newest, seen = tonumber(newest), tonumber(seen)
		if seen_generation < newest or seen_generation == newest and seen_revision <= seen then return true end
		from, at = math.min(tonumber(first), from), noticed
	end
	lost = table.concat({number(from), number(seen_generation), number(seen_revision), at}, ' ')
	redis.call('HSET', meta, 'lost', lost)
	return true
end

-- is_late returns whether the caller gave up waiting: the server was stopped, or busy.
local function is_late()
	if ARGV[8] == '' then return false end
	local now = redis.call('TIME')
	return tonumber(now[1]) * 1000 + tonumber(now[2]) / 1000 > tonumber(ARGV[8])
end

-- earlier returns the result of an earlier run with this id whose answer was lost, if it
-- wrote anything.
local function earlier(id)
	local to = '+'
	while true do
		local entries = redis.call('XREVRANGE', undo, to, '-', 'COUNT', 100)
		for _, entry in ipairs(entries) do
			local fields = entry[2]
			if fields[1] == '' and string.sub(fields[2], 1, #id) == id then return string.sub(fields[2], #id + 2) end
		end
		if #entries < 100 then return nil end
		to = '(' .. entries[100][1]
	end
end

-- touch makes a dummy write when nothing else is written, so that WAIT, which counts from
-- the last write of its connection, covers earlier writes. It returns a table when the
-- server refuses.
local function touch() return redis.pcall('HINCRBY', meta, 'again', 1) end

-- record ends a batch: it writes the undo log, and drops the oldest part of it when it
-- exceeds undo_budget. The first field of a batch has an empty name, and the id and the
-- result of the batch.
local function record(id, result)
	revision, recorded = revision + 1, true
	local name = number(revision)
	local holds = redis.call('EXISTS', names) .. redis.call('EXISTS', values)
	redis.call('HSET', meta, 'rev', name, 'last', name .. ' ' .. id, 'held', holds)
	if old_size > undo_budget then
		-- Running views fail, which is better than exceeding the memory.
		old, old_size = {}, 0
		redis.call('HSET', meta, 'floor', name)
	end
	local outcome = id .. ' ' .. result
	local first = math.min(undo_fields, #old)
	redis.call('XADD', undo, name .. '-0', '', outcome, unpack(old, 1, first))
	local sequence = 0
	while first < #old do
		local last = math.min(first + undo_fields, #old)
		sequence = sequence + 1
		redis.call('XADD', undo, name .. '-' .. sequence, unpack(old, first + 1, last))
		first = last
	end
	local kept = redis.call('HINCRBY', meta, 'undo', #outcome + old_size)
	if kept <= undo_budget then return end
	local dropped, floor, keep = 0, nil, nil
	while kept - dropped > undo_budget * 0.75 do
		local entries = redis.call('XRANGE', undo, keep or '-', '+', 'COUNT', 9)
		for i = 1, #entries - 1 do
			for _, text in ipairs(entries[i][2]) do dropped = dropped + #text end
			floor, keep = entries[i][1], entries[i + 1][1]
		end
		if #entries < 9 then break end
	end
	if not floor then return end
	redis.call('XTRIM', undo, 'MINID', keep)
	redis.call('HINCRBY', meta, 'undo', -dropped)
	redis.call('HSET', meta, 'floor', string.match(floor, '^%d+'))
end
