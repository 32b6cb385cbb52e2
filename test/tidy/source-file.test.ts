import { describe, expect, test } from 'vitest'
import { sourceFile } from './source-file.ts'

describe('the scanner', () => {
  test('blanks comments and strings and keeps every offset', () => {
    const text = [
      "const a = 'Date.now()' // Date.now()",
      '/* Math.random */ const b = `text ${ call({ x: 1 }) } Math.random`',
      'const c = /["\'`/]+[/"]/.test("x") ? 4 / 2 : b / 3 // tail',
      'const d = `outer ${ `inner ${ 1 }` } end` + setTimeout',
    ].join('\n')
    const { code } = sourceFile('src/a.ts', text)
    expect(code).toHaveLength(text.length)
    expect(code).not.toMatch(/Date|Math|tail|inner|outer/)
    expect(code).toContain('call({ x: 1 })')
    expect(code).toContain('? 4 / 2 : b / 3')
    expect(code).toContain('+ setTimeout')
  })

  test('finds every kind of import and no import in a comment or a text', () => {
    const { imports } = sourceFile(
      'src/a.ts',
      [
        "import { a } from './a.ts'",
        "import type { B } from './b.ts'",
        "import { type C } from './c.ts'",
        "import { type D, d } from './d.ts'",
        'import {',
        '  e,',
        "} from './e.ts'",
        "import './f.ts'",
        "export { g } from './g.ts'",
        "export type { H } from './h.ts'",
        "const i = await import('./i.ts')",
        "type J = typeof import('./j.ts')",
        "import * as k from 'k'",
        "import l from 'l'",
        "// import { m } from './m.ts'",
        'const n = `',
        "import { n } from './n.ts'`",
        "export * from './o.ts'",
      ].join('\n'),
    )
    const byKind = (kind: string): string => imports.filter((one) => one.kind === kind).map((one) => one.specifier).sort().join(' ')
    expect(byKind('value')).toBe('./a.ts ./d.ts ./e.ts ./f.ts ./g.ts ./o.ts k l')
    expect(byKind('type')).toBe('./b.ts ./c.ts ./h.ts ./j.ts')
    expect(byKind('dynamic')).toBe('./i.ts')
    expect(imports.find((one) => one.specifier === './e.ts')?.line).toBe(5)
  })
})
