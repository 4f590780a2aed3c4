-- Removes at most ARGV[10] entries that expired before ARGV[9], in Unix
-- milliseconds, and returns how many.
compare()
local expired = redis.call('ZRANGEBYSCORE', expiries, '-inf', '(' .. ARGV[9], 'LIMIT', 0, ARGV[10])
if #expired == 0 then return 0 end
for _, key in ipairs(expired) do remove(key) end
record(ARGV[1], '0  ')
return #expired
