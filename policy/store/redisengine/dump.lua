-- Returns {key, value, expiry in Unix milliseconds or false}, ...}: the
-- entries from ARGV[1] on, at most ARGV[2] entries and about ARGV[3] bytes.
local names, values, expiries = KEYS[1], KEYS[2], KEYS[3]
local answer, size = {}, 0
for _, key in ipairs(redis.call('ZRANGEBYLEX', names, ARGV[1], '+', 'LIMIT', 0, ARGV[2])) do
	local value = redis.call('HGET', values, key) or ''
	local n = #answer
	answer[n + 1], answer[n + 2], answer[n + 3] = key, value, redis.call('ZSCORE', expiries, key)
	size = size + #key + #value
	if size >= tonumber(ARGV[3]) then break end
end
return answer
