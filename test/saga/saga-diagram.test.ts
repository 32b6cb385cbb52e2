import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type Drawable, type SagaPart, processManager, saga, sequenceDiagram, stateDiagram } from '../../src/index.ts'
import { diagramText } from '../../src/saga/saga-diagram.ts'
import { Charge, Charged, OrderState, Placed, Reserve, Reserved, Shipped, order, orderId } from './saga-rig.ts'

// Mermaid's own parser needs a browser's document and a hundred packages. These are the lines of its two languages that we write, with the text that may
// stand in them: letters, digits, blanks, a few marks, and numbered entities, which Mermaid takes out before it parses.
const TEXT = String.raw`(?:[\p{L}\p{N} .,_…]|(?<=[\p{L}\p{N}])-(?=[\p{L}\p{N}])|#\d+;)*`
const line = (pattern: string): RegExp => new RegExp(`^${pattern}$`, 'u')
const STATE_LINES = [String.raw`stateDiagram-v2`, String.raw` +%% [\p{L}\p{N} .,_-]*`, String.raw` +state "${TEXT}" as \w+(?: \{)?`, String.raw` +\}`, String.raw` +(?:\[\*\]|\w+) --> (?:\[\*\]|\w+)(?: : ${TEXT})?`].map(line)
const SEQUENCE_LINES = [
  'sequenceDiagram', String.raw` +%% [\p{L}\p{N} .,_-]*`, String.raw` +participant \w+ as ${TEXT}`, String.raw` +\w+--?>>\w+: ${TEXT}`, String.raw` +Note over saga: ${TEXT}`,
  String.raw` +(?:alt|else|par|and|loop|opt) ${TEXT}`, ' +end',
].map(line)

function strayLines(text: string, lines: readonly RegExp[]): readonly string[] {
  return text.trimEnd().split('\n').filter((one) => !lines.some((pattern) => pattern.test(one)))
}

/** Blocks that are opened and not closed, or closed and not opened. */
function openBlocks(text: string): number {
  let open = 0
  for (const one of text.split('\n')) {
    if (/^ +(?:alt|par|loop|opt) |\{$/.test(one)) open++
    if (/^ +(?:end|\})$/.test(one)) open--
    if (open < 0) return open
  }
  return open
}

const hostile = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 20 }), fc.string({ unit: 'binary', maxLength: 20 }), fc.constantFrom(
  'end', 'note', 'as', 'alt', 'else', '[*]', '-->', '->>', '--', ';', '#', '%%', '%%{init}%%', ':', '"', '<script>', '}', '}\nend', 'a\r\nb-->c', '\u2028', '', ' ', '#quot;', '<<fork>>', '\u202E', 'state "x" as y',
))
const outcome = fc.record({ type: hostile, leads: fc.constantFrom('on' as const, 'back' as const) })
const maybe = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(one, { nil: undefined })
const step: fc.Arbitrary<SagaPart> = fc.record({
  kind: fc.constantFrom('step' as const, 'wait' as const, 'publish' as const), name: hostile, sends: maybe(hostile), outcomes: maybe(fc.array(outcome, { maxLength: 3 })), timeoutMs: maybe(fc.nat()), attemptsMax: maybe(fc.nat()),
  timeout: fc.constantFrom('fails' as const, 'completes' as const, undefined), onFailure: fc.constantFrom('compensate' as const, 'continue' as const, undefined), isConditional: fc.boolean(), isRepeated: fc.boolean(), saga: maybe(hostile),
  compensation: maybe(fc.record({ sends: hostile, outcomes: fc.array(outcome, { maxLength: 2 }), timeoutMs: maybe(fc.nat()), otherwise: fc.constantFrom('park' as const, 'alert' as const) })),
})
const group: fc.Arbitrary<SagaPart> = fc.record({ kind: fc.constant('group' as const), name: hostile, need: fc.nat(3), members: fc.array(step, { minLength: 1, maxLength: 3 }) })
const drawable: fc.Arbitrary<Drawable> = fc.record({
  name: hostile, version: fc.nat(),
  shape: fc.record({
    form: fc.constantFrom('steps' as const, 'process-manager' as const), starts: fc.array(hostile, { minLength: 1, maxLength: 2 }), cancels: fc.array(hostile, { maxLength: 2 }), timers: fc.array(hostile, { maxLength: 2 }),
    parts: fc.array(fc.oneof(step, group), { minLength: 1, maxLength: 4 }), inputs: fc.array(hostile, { maxLength: 3 }), outputs: fc.array(hostile, { maxLength: 3 }), timeoutMs: maybe(fc.nat()), waits: fc.constantFrom('forever' as const, undefined),
  }),
})

describe('the state diagram of a saga', () => {
  test('shows its steps, the way forwards and the way back', () => {
    const small = saga('small', { state: OrderState }).startedBy(Placed, { correlate: orderId, state: (data) => data })
      .step('reserve', { timeoutMs: 30_000, retry: { attemptsMax: 2 } }, (one) => one.send(Reserve, (state) => ({ orderId: state.orderId })).on(Reserved, { correlate: orderId }).compensate((undo) => undo.send(Charge, (state) => state)))
      .publish('tell', Shipped, (state) => ({ orderId: state.orderId }))
      .end()
    expect(stateDiagram(small)).toBe(`stateDiagram-v2
  %% small, version 1
  state "reserve, sends stock.reserve, within 30 s, 2 tries" as step1
  state "tell, publishes sales.order-shipped" as step2
  state "completed" as completed
  state "compensated" as compensated
  state "undo reserve, sends money.charge" as undostep1
  [*] --> step1 : sales.order-placed
  step1 --> step2 : stock.reserved
  step2 --> completed
  undostep1 --> compensated
  step1 --> undostep1 : not answered in time
  completed --> [*]
  compensated --> [*]
`)
  })

  test('is a diagram, whatever its names and types say', () => {
    fc.assert(fc.property(drawable, (one) => {
      const text = stateDiagram(one)
      expect(strayLines(text, STATE_LINES)).toEqual([])
      expect(openBlocks(text)).toBe(0)
    }))
  })
})

describe('the sequence diagram of a saga', () => {
  test('shows who says what to whom, and what else may come of it', () => {
    const text = sequenceDiagram(order)
    expect(text.split('\n').slice(0, 14)).toEqual([
      'sequenceDiagram', '  %% order, version 1', '  participant p1 as sales', '  participant saga as order', '  participant p2 as stock', '  participant p3 as money', '  p1->>saga: sales.order-placed',
      '  saga->>p2: stock.reserve', '  alt reserve goes on', '  p2->>saga: stock.reserved', '  else reserve is refused', '  p2->>saga: stock.sold-out', '  else reserve is not answered in time', '  saga-->>saga: alarm after 30 s',
    ])
    expect(text).toContain('  Note over saga: reserve is undone by stock.release\n')
    expect(text).toContain('  Note over saga: called off by sales.order-called-off\n')
  })

  test('of a process manager shows what it takes, sets and sends', () => {
    const manager = processManager('manager', {
      state: z.object({}), inputs: [Placed, Charged], startedBy: [Placed], outputs: [Charge], timers: ['patience'], correlate: { 'sales.order-placed': orderId, 'money.charged': orderId },
      initialState: () => ({}), decide: () => undefined, evolve: (state) => state,
    })
    expect(sequenceDiagram(manager)).toContain('  p2->>saga: money.charged\n  saga-->>saga: alarm patience\n  saga->>p2: money.charge\n')
    expect(stateDiagram(manager)).toContain('  running --> running : alarm patience\n')
  })

  test('is a diagram, whatever its names and types say', () => {
    fc.assert(fc.property(drawable, (one) => {
      const text = sequenceDiagram(one)
      expect(strayLines(text, SEQUENCE_LINES)).toEqual([])
      expect(openBlocks(text)).toBe(0)
    }))
  })
})

describe('a text in a diagram', () => {
  test.each([
    ['sales.order-placed', 'sales.order-placed'], ['a-->b', 'a#45;#45;#62;b'], ['a -b', 'a #45;b'], ['x"; y: z', 'x#34;#59; y#58; z'], ['#quot;', '#35;quot#59;'], ['one\r\n  two\u2028three', 'one two three'], ['\u202Eabc', 'abc'], ['größe 5', 'größe 5'], ['😀', '#128512;'], ['', ''],
  ])('%j is %j', (text, escaped) => {
    expect(diagramText(text)).toBe(escaped)
  })

  test('is cut where it is long', () => {
    expect(diagramText('x'.repeat(500))).toBe(`${'x'.repeat(199)}…`)
  })
})
