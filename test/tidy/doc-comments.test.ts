import { describe, expect, test } from 'vitest'
import { docCommentComplaints } from './doc-comment-rules.ts'
import { sourceFile, sourceFiles } from './source-file.ts'

test('every exported declaration of the source says what it is', () => {
  expect(sourceFiles('src/').flatMap(docCommentComplaints)).toEqual([])
})

describe('the rule about doc comments', () => {
  test.each([
    'export const a: number = 1',
    '// A plain comment is not shown on hover.\nexport function a(): void {}',
    '/* Neither is this one. */\nexport class A {}',
    '/** word */\nexport interface A {}',
    '/** Of the line before. */\nconst b = 1\nexport type A = string',
    '/** Of a function. */\nexport async function a(): Promise<void> {}\nexport abstract class B {}',
  ])('refuses %s', (text) => {
    expect(docCommentComplaints(sourceFile('src/bus/a.ts', text))).toHaveLength(1)
  })

  test.each([
    '/** What it is. */\nexport const a: number = 1',
    '/**\n * What it is.\n */\nexport function a(x: string): void\nexport function a(x: number): void\nexport function a(): void {}',
    'const a = 1\nexport { a }',
    "const a = `\nexport const b = 1`",
  ])('accepts %s', (text) => {
    expect(docCommentComplaints(sourceFile('src/bus/a.ts', text))).toEqual([])
  })
})
