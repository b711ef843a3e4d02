"""The usual case of reserve and of settle as functions of PostgreSQL: one round trip each.

They do what the statements of `costguard.ledger.sql` do where there is room, the entry is new and no mark is
passed, and else answer false with nothing changed: then the statements decide. Taking back is done by hand: an
exception would do it too, and leave a line in the server's log for every call that is refused.

Locks are taken in one order everywhere: the hold, the entry, the balances by key.
"""

from __future__ import annotations

RESERVE = """
CREATE FUNCTION costguard_reserve(
    the_call bytea, the_amount bigint, the_expires bigint, the_at bigint, the_model bigint, the_tags bigint,
    the_streamed bigint, the_keys text, the_limits text, the_rules json
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    names text[] := string_to_array(the_keys, E'\\n');
    limits bigint[] := string_to_array(the_limits, ',')::bigint[];
BEGIN
    INSERT INTO costguard_holds (call_id, amount, expires, at, model_id, tags_id, streamed, keys)
        VALUES (the_call, the_amount, the_expires, the_at, the_model, the_tags, the_streamed, the_keys)
        ON CONFLICT (call_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN true;
    END IF;
    IF the_rules IS NOT NULL THEN
        INSERT INTO costguard_balances (key, start, until, payer, budget)
            SELECT rule->>0, (rule->>1)::bigint, (rule->>2)::bigint, rule->>3, rule->>4
            FROM json_array_elements(the_rules) AS rule
            ON CONFLICT (key) DO UPDATE SET budget = excluded.budget
            WHERE costguard_balances.budget <> excluded.budget;
    END IF;
    FOR place IN 1 .. cardinality(names) LOOP
        UPDATE costguard_balances SET held = held + the_amount
            WHERE key = names[place] AND spent + held + the_amount <= limits[place];
        IF NOT FOUND THEN
            UPDATE costguard_balances SET held = held - the_amount WHERE key = ANY (names[1 : place - 1]);
            DELETE FROM costguard_holds WHERE call_id = the_call;
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$
"""

SETTLE = """
CREATE FUNCTION costguard_settle(
    the_call bytea, the_at bigint, the_model bigint, the_tags bigint, the_price bigint, the_cost bigint,
    the_input bigint, the_output bigint, the_cache_read bigint, the_cache_write bigint, the_reasoning bigint,
    the_buckets text, the_status bigint, the_estimated bigint, the_streamed bigint, the_attempts bigint,
    the_held bigint, the_duration bigint, the_response text, the_reason text, the_keys text,
    held_as bytea, the_accounts text, the_marks text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    names text[] := string_to_array(the_accounts, E'\\n');
    marks text[] := string_to_array(the_marks, ';');
    hold costguard_holds;
    freed bigint;
    cost bigint := coalesce(the_cost, 0);
    after bigint;
    done integer := 0;
    usual boolean;
BEGIN
    DELETE FROM costguard_holds WHERE call_id = held_as RETURNING * INTO hold;
    freed := coalesce(hold.amount, 0);
    INSERT INTO costguard_entries (
            call_id, at, model_id, tags_id, price_id, cost, input_tokens, output_tokens, cache_read_tokens,
            cache_write_tokens, reasoning_tokens, buckets, status, estimated, streamed, attempts, held, duration,
            response_id, reason, keys
        ) VALUES (
            the_call, the_at, the_model, the_tags, the_price, the_cost, the_input, the_output, the_cache_read,
            the_cache_write, the_reasoning, the_buckets, the_status, the_estimated, the_streamed, the_attempts,
            the_held, the_duration, the_response, the_reason, the_keys
        ) ON CONFLICT (call_id) DO NOTHING;
    usual := FOUND;
    IF NOT usual THEN
        IF hold.call_id IS NOT NULL THEN
            INSERT INTO costguard_holds SELECT hold.*;
        END IF;
        RETURN false;
    END IF;
    IF names IS NULL THEN
        -- Settled by one who does not know the hold: usual only if there is none.
        usual := hold.call_id IS NULL;
    ELSIF freed <> 0 OR cost <> 0 THEN
        FOR place IN 1 .. cardinality(names) LOOP
            UPDATE costguard_balances SET held = held - freed, spent = spent + cost
                WHERE key = names[place] RETURNING spent INTO after;
            usual := FOUND;
            EXIT WHEN NOT usual;
            done := place;
            usual := NOT EXISTS (
                SELECT FROM unnest(string_to_array(marks[place], ',')::bigint[]) AS mark
                WHERE mark > after - cost AND mark <= after
            );
            EXIT WHEN NOT usual;
        END LOOP;
    END IF;
    IF NOT usual THEN
        UPDATE costguard_balances SET held = held + freed, spent = spent - cost WHERE key = ANY (names[1 : done]);
        DELETE FROM costguard_entries WHERE call_id = the_call;
        IF hold.call_id IS NOT NULL THEN
            INSERT INTO costguard_holds SELECT hold.*;
        END IF;
    END IF;
    RETURN usual;
END $$
"""

FUNCTIONS = (RESERVE, SETTLE)
NAMES = ("costguard_reserve", "costguard_settle")
