"""The functions of `functions_0001`, for limits that count different things: tokens and calls beside dollars.

A line of keys may end in a tab and a number (see `costguard.ledger.keys`): what is held on this balance, or spent on
it, where that is not what the row says. Lines without one mean what they meant before.
"""

from __future__ import annotations

RESERVE = """
CREATE OR REPLACE FUNCTION costguard_reserve(
    the_call bytea, the_amount bigint, the_expires bigint, the_at bigint, the_model bigint, the_tags bigint,
    the_streamed bigint, the_keys text, the_limits text, the_rules json
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    names text[] := string_to_array(the_keys, E'\\n');
    limits bigint[] := string_to_array(the_limits, ',')::bigint[];
    amounts bigint[] := array_fill(the_amount, ARRAY[coalesce(cardinality(names), 0)]);
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
    IF position(E'\\t' IN the_keys) > 0 THEN
        FOR place IN 1 .. cardinality(names) LOOP
            amounts[place] := coalesce(nullif(split_part(names[place], E'\\t', 2), '')::bigint, the_amount);
            names[place] := split_part(names[place], E'\\t', 1);
        END LOOP;
    END IF;
    FOR place IN 1 .. cardinality(names) LOOP
        UPDATE costguard_balances SET held = held + amounts[place]
            WHERE key = names[place] AND spent + held + amounts[place] <= limits[place];
        IF NOT FOUND THEN
            FOR taken IN 1 .. place - 1 LOOP
                UPDATE costguard_balances SET held = held - amounts[taken] WHERE key = names[taken];
            END LOOP;
            DELETE FROM costguard_holds WHERE call_id = the_call;
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$
"""

SETTLE = """
CREATE OR REPLACE FUNCTION costguard_settle(
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
    costs bigint[];
    frees bigint[];
    after bigint;
    done integer := 0;
    usual boolean;
BEGIN
    -- Deleted at the end only: a row that is put back is a new one, which those who wait for this one do not see.
    SELECT * INTO hold FROM costguard_holds WHERE call_id = held_as FOR UPDATE;
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
        RETURN false;
    END IF;
    IF names IS NULL THEN
        -- Settled by one who does not know the hold: usual only if there is none.
        usual := hold.call_id IS NULL;
    ELSE
        costs := array_fill(coalesce(the_cost, 0), ARRAY[cardinality(names)]);
        frees := array_fill(coalesce(hold.amount, 0), ARRAY[cardinality(names)]);
        IF position(E'\\t' IN the_accounts) > 0 THEN
            FOR place IN 1 .. cardinality(names) LOOP
                costs[place] := coalesce(nullif(split_part(names[place], E'\\t', 2), '')::bigint, costs[place]);
                names[place] := split_part(names[place], E'\\t', 1);
            END LOOP;
        END IF;
        -- What was held on other balances than these is for the statements to free.
        usual := hold.call_id IS NULL OR hold.keys = array_to_string(names, E'\\n');
        IF NOT usual AND position(E'\\t' IN hold.keys) > 0 THEN
            SELECT array_agg(coalesce(nullif(split_part(line, E'\\t', 2), '')::bigint, hold.amount) ORDER BY place),
                    array_agg(split_part(line, E'\\t', 1) ORDER BY place) = names
                INTO frees, usual
                FROM unnest(string_to_array(hold.keys, E'\\n')) WITH ORDINALITY AS held (line, place);
        END IF;
        IF usual THEN
            FOR place IN 1 .. cardinality(names) LOOP
                CONTINUE WHEN costs[place] = 0 AND frees[place] = 0;
                UPDATE costguard_balances SET held = held - frees[place], spent = spent + costs[place]
                    WHERE key = names[place] RETURNING spent INTO after;
                usual := FOUND;
                EXIT WHEN NOT usual;
                done := place;
                usual := costs[place] = 0 OR NOT EXISTS (
                    SELECT FROM unnest(string_to_array(marks[place], ',')::bigint[]) AS mark
                    WHERE mark > after - costs[place] AND mark <= after
                );
                EXIT WHEN NOT usual;
            END LOOP;
        END IF;
    END IF;
    IF NOT usual THEN
        FOR place IN 1 .. done LOOP
            UPDATE costguard_balances SET held = held + frees[place], spent = spent - costs[place]
                WHERE key = names[place];
        END LOOP;
        DELETE FROM costguard_entries WHERE call_id = the_call;
    ELSIF hold.call_id IS NOT NULL THEN
        DELETE FROM costguard_holds WHERE call_id = held_as;
    END IF;
    RETURN usual;
END $$
"""

FUNCTIONS = (RESERVE, SETTLE)
